package dnsserver

import (
	"net/netip"
	"time"
)

// ClientPrefix is what counts as one client.
var ClientPrefix = clientPrefix

// CloseListeners closes the TCP half of an endpoint.
func CloseListeners(e *Endpoint) {
	for _, l := range e.listeners {
		l.Close()
	}
}

// PacketSockets returns where the UDP sockets of an endpoint are bound, and how many read them together.
func PacketSockets(e *Endpoint) (addrs []string, readers int) {
	for _, p := range e.packets {
		addrs = append(addrs, p.conn.LocalAddr().String())
		readers += p.readers
	}
	return addrs, readers
}

// Limiter is the table of rate limits.
type Limiter = limiter

// NewLimiter makes one.
var NewLimiter = newLimiter

// Admit counts a reply.
func (l *limiter) Admit(addr netip.Addr, now time.Time) (bits int, ok bool) {
	return l.admit(addr, now)
}

// Place hashes an address.
func (l *limiter) Place(addr netip.Addr) uint64 { return l.place(addr, addr.BitLen()) }

// AnswerLong is Answer without the wire form.
func AnswerLong(s *Server, request []byte, from Client) []byte {
	if len(request) < headerSize || request[2]&0x80 != 0 {
		return nil
	}
	s.prepared.Do(s.prepare)
	q := new(query)
	q.parse(request)
	s.setOptions(q, from)
	return s.answerLong(q, nil, request, from, q.limit(from.Transport))
}

// Short says whether the wire form answers a request.
func Short(s *Server, request []byte, from Client) bool {
	q := new(query)
	q.parse(request)
	_, ok := s.answerWire(q, nil, request, q.limit(from.Transport))
	return ok
}

// Answerer returns Answer as a socket's reader has it, with memory of its own.
func Answerer(s *Server) func(dst, request []byte, from Client) []byte {
	q := new(query)
	return func(dst, request []byte, from Client) []byte { return s.answer(q, dst, request, from) }
}

// ReadPlainly has a server that does not serve yet read UDP as on systems without recvmmsg.
func ReadPlainly(s *Server) { s.plain = true }
