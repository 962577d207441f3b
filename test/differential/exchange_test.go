package differential

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// server is one of the servers that are compared.
type server struct {
	name string // "ours", "nsd" or "knot"
	addr netip.AddrPort
	udp  net.Conn
	asks uint16
}

func newServer(t *testing.T, name string, addr netip.AddrPort) *server {
	t.Helper()
	conn, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &server{name: name, addr: addr, udp: conn}
}

// ask returns the reply to a request, nil if there is none.
func (s *server) ask(t *testing.T, q *query) []byte {
	t.Helper()
	reply := s.overUDP
	if q.tcp {
		reply = s.overTCP
	}
	wire, err := reply(q)
	if err != nil {
		t.Fatalf("%s: %s: %v", s.name, q, err)
	}
	return wire
}

// overUDP asks, and then asks for the SOA. A request whose reply has not come before that of the SOA has none: no time
// has to pass to know it. Requests are given twice before that is believed.
func (s *server) overUDP(q *query) ([]byte, error) {
	var buf [65535]byte
	if err := s.udp.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	for range 2 {
		s.asks++
		sentinel := sentinel(q.zone, s.asks)
		if _, err := s.udp.Write(q.wire); err != nil {
			return nil, err
		}
		if q.doubtful {
			if _, err := s.udp.Write(sentinel); err != nil {
				return nil, err
			}
		}
		for {
			n, err := s.udp.Read(buf[:])
			if err != nil {
				return nil, err
			}
			if n >= 2 && len(q.wire) >= 2 && bytes.Equal(buf[:2], q.wire[:2]) {
				return bytes.Clone(buf[:n]), nil
			}
			if n >= 2 && bytes.Equal(buf[:2], sentinel[:2]) {
				break
			}
		}
	}
	return nil, nil
}

// overTCP asks on a connection of its own, and tells by a question behind it, or by the end of the connection, that there
// is no reply.
func (s *server) overTCP(q *query) ([]byte, error) {
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	sentinel := sentinel(q.zone, 0)
	request := append(binary.BigEndian.AppendUint16(nil, uint16(len(q.wire))), q.wire...)
	if q.doubtful {
		request = append(binary.BigEndian.AppendUint16(request, uint16(len(sentinel))), sentinel...)
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			if q.doubtful && !errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, nil
			}
			return nil, err
		}
		reply := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, reply); err != nil {
			return nil, err
		}
		if len(q.wire) >= 2 && bytes.HasPrefix(reply, q.wire[:2]) {
			return reply, nil
		}
		if bytes.HasPrefix(reply, sentinel[:2]) {
			return nil, nil
		}
	}
}

// sentinel is a question that is always answered. No other query has its ID, nor has the last one of its kind, whose
// reply may still be waiting.
func sentinel(z *zone, number uint16) []byte {
	m := new(dns.Msg).SetQuestion(z.origin(), dns.TypeSOA)
	m.Id = sentinelID | number&0xff
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return wire
}

const sentinelID = 0xff00
