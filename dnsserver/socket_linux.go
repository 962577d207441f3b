package dnsserver

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenUDP binds n sockets to one address. The kernel spreads clients over them, so that each can be read on a core of
// its own without waiting for the others.
func listenUDP(ctx context.Context, network, addr string, n int) ([]*net.UDPConn, error) {
	// The first is bound without SO_REUSEPORT. With it, a second server of the same user could bind the address too, and
	// silently take half of the queries.
	first, err := listenPacket(ctx, net.ListenConfig{}, network, addr)
	if err != nil {
		return nil, err
	}
	conns := []*net.UDPConn{first}
	if n > 1 {
		err = join(ctx, &conns, network, addr, n)
	}
	for _, c := range conns {
		if err == nil {
			err = control(c, tune)
		}
	}
	if err != nil {
		for _, c := range conns {
			c.Close()
		}
		return nil, err
	}
	return conns, nil
}

// join binds sockets to the address of the first until there are n.
func join(ctx context.Context, conns *[]*net.UDPConn, network, addr string, n int) error {
	if err := control((*conns)[0], reusePort); err != nil {
		return fmt.Errorf("setting SO_REUSEPORT: %w", err)
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return controlRaw(c, reusePort) }}
	for len(*conns) < n {
		c, err := listenPacket(ctx, config, network, addr)
		if err != nil {
			return err
		}
		*conns = append(*conns, c)
	}
	return nil
}

func listenPacket(ctx context.Context, config net.ListenConfig, network, addr string) (*net.UDPConn, error) {
	c, err := config.ListenPacket(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

func reusePort(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// tune asks for what is good to have. RFC 9715 §3.1: no fragments, and no belief in a path MTU that anybody can forge;
// with replies of 1232 octets at most there is nothing to learn. A larger buffer holds a burst of validators. The
// server works without any of it, and a socket has one of the two families only, so refusals do not matter.
func tune(fd int) error {
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	return nil
}

func control(c *net.UDPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return controlRaw(raw, f)
}

func controlRaw(raw syscall.RawConn, f func(fd int) error) error {
	var err error
	if controlErr := raw.Control(func(fd uintptr) { err = f(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}
