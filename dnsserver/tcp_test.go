package dnsserver_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

func textLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// query packs a question, with the length that TCP wants.
func query(t testing.TB, id uint16, question string, qtype uint16) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(question, qtype)
	m.Id = id
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)
}

func readReply(t testing.TB, c net.Conn) *dns.Msg {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(timeout))
	m, err := (&dns.Conn{Conn: c}).ReadMsg()
	if err != nil {
		t.Fatalf("reading a reply: %v", err)
	}
	return m
}

func dial(t testing.TB, server netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dialFrom connects from a loopback address of its own.
func dialFrom(t testing.TB, from string, server netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", server.String())
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestPipelinedQueries: RFC 7766 §6.2.1.1. A thousand queries in one write, a hundred and some at a time in pieces that
// end anywhere.
func TestPipelinedQueries(t *testing.T) {
	t.Parallel()
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames()))})
	const queries = 1000
	var all []byte
	for id := range queries {
		all = append(all, query(t, uint16(id), "www.auth.example.org.", dns.TypeA)...)
	}
	for _, piece := range []int{len(all), 4001, 7} {
		c := dial(t, server)
		go func() {
			for rest := all; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				if _, err := c.Write(rest[:min(piece, len(rest))]); err != nil {
					return
				}
			}
		}()
		for id := range queries {
			if m := readReply(t, c); m.Id != uint16(id) || len(m.Answer) != 1 {
				t.Fatalf("in pieces of %d, reply %d is %v", piece, id, m)
			}
		}
	}
}

// TestIdleConnectionsDoNotStopService: 1,000 connections that say nothing, from several clients.
func TestIdleConnectionsDoNotStopService(t *testing.T) {
	t.Parallel()
	server := start(t, &dnsserver.Server{
		Zones: dnsserver.NewZoneSet(testZone(t, newNames())), MaxConns: 300, MaxConnsPerClient: 100, IdleTimeout: time.Hour,
	})
	busy := dial(t, server)
	for i := range 1000 {
		dialFrom(t, fmt.Sprintf("127.0.0.%d", 2+i%10), server)
		if i%100 == 0 {
			// Connections are accepted in order: all that were made so far are when this one is.
			exchange(t, "tcp", server.String(), "www.auth.example.org.", dns.TypeA)
			// Whoever keeps asking keeps the connection.
			busy.Write(query(t, uint16(i), "www.auth.example.org.", dns.TypeA))
			readReply(t, busy)
		}
	}
	exchange(t, "tcp", server.String(), "www.auth.example.org.", dns.TypeA)
	exchange(t, "udp", server.String(), "www.auth.example.org.", dns.TypeA)
	busy.Write(query(t, 7, "www.auth.example.org.", dns.TypeA))
	readReply(t, busy)
}

// TestIdlestConnectionMakesRoom: which one is closed, for both bounds.
func TestIdlestConnectionMakesRoom(t *testing.T) {
	t.Parallel()
	server := start(t, &dnsserver.Server{
		Zones: dnsserver.NewZoneSet(testZone(t, newNames())), MaxConns: 3, MaxConnsPerClient: 2, IdleTimeout: time.Hour,
	})
	use := func(c net.Conn) {
		t.Helper()
		c.Write(query(t, 1, "www.auth.example.org.", dns.TypeA))
		readReply(t, c)
	}
	first := dialFrom(t, "127.0.0.2", server)
	use(first)
	second := dialFrom(t, "127.0.0.3", server)
	use(second)
	third := dialFrom(t, "127.0.0.3", server)
	use(third)
	use(second)
	// The client has two of two: its idlest goes, though first has been idle for longer.
	fourth := dialFrom(t, "127.0.0.3", server)
	use(fourth)
	expectClosed(t, third)
	// Three of three: the idlest of all goes.
	fifth := dialFrom(t, "127.0.0.4", server)
	use(fifth)
	expectClosed(t, first)
	use(second)
	use(fourth)
}

func TestSlowMessageIsCutOff(t *testing.T) {
	t.Parallel()
	server := start(t, &dnsserver.Server{
		Zones: dnsserver.NewZoneSet(testZone(t, newNames())), MessageTimeout: 50 * time.Millisecond, IdleTimeout: time.Hour,
	})
	c := dial(t, server)
	c.Write(query(t, 1, "www.auth.example.org.", dns.TypeA)[:9])
	expectClosed(t, c)
	// The length alone has begun a message.
	c = dial(t, server)
	c.Write([]byte{0})
	expectClosed(t, c)
}

func TestIdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames())), IdleTimeout: 50 * time.Millisecond})
	c := dial(t, server)
	expectClosed(t, c)
}

// TestKeepaliveTellsTheIdleTime: RFC 7828 §3.3.2, and the connection stays for that long.
func TestKeepaliveTellsTheIdleTime(t *testing.T) {
	t.Parallel()
	const idle = 200 * time.Millisecond
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames())), IdleTimeout: idle})
	request, _, err := ask(strings.Fields("www.auth.example.org. A option=11"))
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, server)
	asked := time.Now()
	c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(request))), request...))
	m := readReply(t, c)
	if opt := m.IsEdns0(); opt == nil || len(opt.Option) != 1 || opt.Option[0].(*dns.EDNS0_TCP_KEEPALIVE).Timeout != 2 {
		t.Errorf("%v", m)
	}
	expectClosed(t, c)
	if stayed := time.Since(asked); stayed < idle {
		t.Errorf("closed after %v", stayed)
	}
}

// TestHalfClosedConnectionIsAnswered: a client may say that it will not ask again before it has the replies.
func TestHalfClosedConnectionIsAnswered(t *testing.T) {
	t.Parallel()
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames()))})
	c := dial(t, server)
	c.Write(append(query(t, 1, "www.auth.example.org.", dns.TypeA), query(t, 2, "www.auth.example.org.", dns.TypeA)...))
	c.(*net.TCPConn).CloseWrite()
	for id := range 2 {
		if m := readReply(t, c); m.Id != uint16(id+1) || len(m.Answer) != 1 {
			t.Errorf("%v", m)
		}
	}
	expectClosed(t, c)
}

// TestClientThatDoesNotReadIsCutOff: it pipelines for ever and takes no reply.
func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	n := newNames()
	n.set("full", expand([]string{"many", "1000"})...)
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, n)), WriteTimeout: 50 * time.Millisecond})
	c := dial(t, server)
	q := query(t, 1, "full.auth.example.org.", dns.TypeTXT)
	c.SetWriteDeadline(time.Now().Add(timeout))
	for {
		if _, err := c.Write(q); err != nil {
			if isTimeout(err) {
				t.Error("the connection is still open")
			}
			return
		}
	}
}

// TestServeDrains: queries that were read are answered, idle connections end, and Serve comes back before any time-out.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	e, err := dnsserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	zone := testZone(t, blocking{entered, release})
	stop := serve(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(zone), IdleTimeout: time.Hour, MessageTimeout: time.Hour}, e)
	dial(t, e.Addr())
	half := dial(t, e.Addr())
	half.Write([]byte{0})
	working := dial(t, e.Addr())
	working.Write(query(t, 1, "x.auth.example.org.", dns.TypeTXT))
	<-entered
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	expectClosed(t, half) // now it drains
	select {
	case <-stopped:
		t.Error("Serve returned before the query was answered")
	default:
	}
	close(release)
	if m := readReply(t, working); m.Id != 1 {
		t.Errorf("reply %v", m)
	}
	expectClosed(t, working)
	<-stopped
	if err := e.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the sockets were open after Serve: %v", err)
	}
}

// blocking is a Names that waits, as none should.
type blocking struct{ entered, release chan struct{} }

func (b blocking) AppendTXT(_, _ []byte) ([]byte, bool, error) {
	close(b.entered)
	<-b.release
	return nil, false, nil
}
func (b blocking) Serial() uint32 { return 1 }

func TestClientIsAnAddressOrAnIPv6Network(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ addr, client string }{
		{"192.0.2.1", "192.0.2.1/32"},
		{"2001:db8::1", "2001:db8::/64"},
		{"2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"},
		{"fe80::1%lo", "fe80::/64"},
	} {
		if got := dnsserver.ClientPrefix(netip.MustParseAddr(test.addr)).String(); got != test.client {
			t.Errorf("%s counts as %s, want %s", test.addr, got, test.client)
		}
	}
}

// TestAnswerOverTCPsLimitIsSERVFAIL: 65,535 octets are all that the length can say.
func TestAnswerOverTCPsLimitIsSERVFAIL(t *testing.T) {
	t.Parallel()
	n := newNames()
	n.set("huge", expand([]string{"many", "2000"})...)
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, n))}).String()
	for _, network := range []string{"udp", "tcp"} {
		m := exchange(t, network, server, "huge.auth.example.org.", dns.TypeTXT)
		if want := network == "tcp"; (m.Rcode == dns.RcodeServerFailure) != want || m.Truncated == want {
			t.Errorf("over %s: %v", network, m)
		}
	}
}

// TestWaitingConnectionsHoldLittleMemory: what a large message took is given back. It looks at the memory of all, and so
// runs alone.
func TestWaitingConnectionsHoldLittleMemory(t *testing.T) {
	n := newNames()
	n.set("full", expand([]string{"many", "1000"})...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e, err := dnsserver.Inherit(nil, []net.Listener{listener}) // readers of UDP take memory when they begin
	if err != nil {
		t.Fatal(err)
	}
	server := e.Addr()
	serve(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, n)), IdleTimeout: time.Hour}, e)
	large := make([]byte, 2+60_000)
	binary.BigEndian.PutUint16(large, 60_000)
	request := append(query(t, 2, "full.auth.example.org.", dns.TypeTXT), large...) // a large reply, and then a large request
	before := heap()
	const conns = 64
	for range conns {
		c := dial(t, server)
		go c.Write(request)
		for _, rcode := range []int{dns.RcodeSuccess, dns.RcodeFormatError} {
			if m := readReply(t, c); m.Rcode != rcode {
				t.Fatalf("%v", m)
			}
		}
	}
	// A connection gives its memory back after the client has got the reply.
	for deadline := time.Now().Add(timeout); ; {
		held := int64(heap()-before) / conns
		if held < 32<<10 { // a buffer that is kept has twice as much
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a connection that waits holds %d octets", held)
		}
	}
}

// heap is the memory that is in use.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
