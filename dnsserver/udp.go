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
	source   packetSource // once it is served
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

// open makes the socket ready for its readers. plain is without what only some systems have.
func (p *packetSocket) open(plain bool) (err error) {
	if !plain {
		p.source, err = newBatchSource(p)
	}
	if p.source == nil {
		p.source = &plainSource{p}
	}
	return err
}

func (p *packetSocket) Close() error {
	if p.source != nil {
		return p.source.Close()
	}
	return p.conn.Close()
}

// packetSource is a socket that is served.
type packetSource interface {
	// packets returns what one reader of the socket needs.
	packets() packets
	// interrupt ends the receiving of all readers, soon.
	interrupt()
	// Close closes the socket, which nobody reads any more.
	Close() error
}

// packets moves the datagrams of a socket, many with one system call where the system can, in memory that it keeps.
// It is for one goroutine.
type packets interface {
	// receive waits for requests, and returns how many there are. They are good until it is called again.
	receive() (n int, err error)
	// request returns one of them, and who sent it.
	request(i int) (request []byte, client netip.AddrPort)
	// room is memory for the reply to it, of replyRoom octets.
	room(i int) []byte
	// reply takes the reply to it, in room or not, for send.
	reply(i int, reply []byte)
	// send sends the replies. Those that the system does not take are lost; err is why the last of them was.
	send() (failed int, err error)
}

// replyRoom: miekg/dns packs only where there is more room than it takes.
const replyRoom = 2 * udpSize

// servePackets answers what comes in on a socket, in this one goroutine.
func (s *Server) servePackets(ctx context.Context, socket *packetSocket) error {
	p, q := socket.source.packets(), new(query)
	var trouble backoff
	var labels [][]byte
	for {
		n, err := p.receive()
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
		labels = s.warm(p, n, labels)
		for i := range n {
			request, client := p.request(i)
			if client.Port() == 0 {
				continue // nobody can be there
			}
			if reply := s.answer(q, p.room(i), request, Client{Transport: UDP, Addr: client}); reply != nil {
				p.reply(i, reply)
			}
		}
		if failed, err := p.send(); failed > 0 {
			s.log().Debug("UDP replies cannot be sent", "replies", failed, "err", err)
		}
	}
}

// plainSource is a socket by the net package, which works everywhere.
type plainSource struct{ socket *packetSocket }

func (s *plainSource) packets() packets {
	return &single{socket: s.socket, buffer: make([]byte, maxMessage), control: make([]byte, 128), space: make([]byte, replyRoom)}
}

func (s *plainSource) interrupt() { s.socket.conn.SetReadDeadline(past) }

func (s *plainSource) Close() error { return s.socket.conn.Close() }

// single is packets one at a time.
type single struct {
	socket  *packetSocket
	buffer  []byte
	size    int
	control []byte
	source  []byte // control as it was received
	client  netip.AddrPort
	space   []byte
	out     []byte
}

func (p *single) receive() (n int, err error) {
	var controlSize int
	p.size, controlSize, _, p.client, err = p.socket.conn.ReadMsgUDPAddrPort(p.buffer, p.control)
	p.source, p.out = p.control[:controlSize], nil
	return 1, err
}

func (p *single) request(int) (request []byte, client netip.AddrPort) {
	return p.buffer[:p.size], netip.AddrPortFrom(p.client.Addr().Unmap(), p.client.Port())
}

func (p *single) room(int) []byte { return p.space }

func (p *single) reply(_ int, reply []byte) { p.out = reply }

func (p *single) send() (failed int, err error) {
	if p.out == nil {
		return 0, nil
	}
	var source []byte
	if p.socket.wildcard {
		source = sourceOf(p.source)
	}
	if _, _, err := p.socket.conn.WriteMsgUDPAddrPort(p.out, source, p.client); err != nil {
		return 1, err
	}
	return 0, nil
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
