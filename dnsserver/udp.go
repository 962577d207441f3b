package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// packetSocket is a UDP socket and how it is read.
type packetSocket struct {
	conn    *net.UDPConn
	readers int
	// wildcard: bound to no address, so that each reply has to name the one that it leaves from. A client takes a reply
	// only from the address that it asked (RFC 2181 §4.1).
	wildcard bool
}

func newPacketSocket(conn *net.UDPConn, readers int) (*packetSocket, error) {
	p := &packetSocket{conn: conn, readers: readers}
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || !local.IP.IsUnspecified() {
		return p, nil
	}
	p.wildcard = true
	// A socket of both families needs both.
	err6 := ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst, true)
	err4 := ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst, true)
	if err6 != nil && err4 != nil {
		p.wildcard = false
		return p, fmt.Errorf("the system does not tell which address a packet was sent to: %w", err4)
	}
	return p, nil
}

// servePackets answers what comes in on a socket, in this one goroutine, from buffers that it keeps.
func (s *Server) servePackets(ctx context.Context, socket *packetSocket) error {
	request := make([]byte, maxMessage)
	reply := make([]byte, 2*udpSize)
	control := make([]byte, 128)
	var trouble backoff
	for {
		n, controlSize, _, client, err := socket.conn.ReadMsgUDPAddrPort(request, control)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("reading DNS queries: %w", err)
		}
		if err != nil {
			// Windows reports here that an earlier reply reached nobody. That, and what else there is, passes.
			if trouble.first() {
				s.log().Warn("reading a UDP query failed; trying on", "listen", socket.conn.LocalAddr().String(), "err", err)
			}
			trouble.wait(ctx)
			continue
		}
		trouble.reset()
		if client.Port() == 0 {
			continue // nobody can be there
		}
		from := Client{Transport: UDP, Addr: netip.AddrPortFrom(client.Addr().Unmap(), client.Port())}
		out := s.Answer(reply, request[:n], from)
		if out == nil {
			continue
		}
		var source []byte
		if socket.wildcard {
			source = sourceOf(control[:controlSize])
		}
		if _, _, err := socket.conn.WriteMsgUDPAddrPort(out, source, client); err != nil {
			s.log().Debug("a UDP reply cannot be sent", "client", from.Addr.String(), "err", err)
		}
	}
}

// sourceOf turns the control message that says where a packet went into one that makes the reply come from there. The
// interface is left to the routing table, since the way back need not be the way in.
func sourceOf(control []byte) []byte {
	var in6 ipv6.ControlMessage
	if in6.Parse(control) == nil && in6.Dst != nil {
		if in6.Dst.To4() == nil {
			return (&ipv6.ControlMessage{Src: in6.Dst}).Marshal()
		}
		return (&ipv4.ControlMessage{Src: in6.Dst.To4()}).Marshal()
	}
	var in4 ipv4.ControlMessage
	if in4.Parse(control) == nil && in4.Dst != nil {
		return (&ipv4.ControlMessage{Src: in4.Dst}).Marshal()
	}
	return nil
}
