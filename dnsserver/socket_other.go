//go:build !linux

package dnsserver

import (
	"context"
	"net"
)

// listenUDP binds one socket: that several share an address evenly is particular to Linux.
func listenUDP(ctx context.Context, network, addr string, _ int) ([]*net.UDPConn, error) {
	var config net.ListenConfig
	c, err := config.ListenPacket(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return []*net.UDPConn{c.(*net.UDPConn)}, nil
}
