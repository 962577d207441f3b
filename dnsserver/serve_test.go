package dnsserver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// timeout bounds what a test waits for. None waits that long unless it fails.
const timeout = 20 * time.Second

func testZone(t testing.TB, n dnsserver.Names) *dnsserver.Zone {
	t.Helper()
	zone, err := dnsserver.NewZone(dnsserver.ZoneConfig{
		Origin:  "auth.example.org",
		Addrs:   []netip.Addr{addr},
		Records: []string{"www A 192.0.2.80"},
	}, n)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// start serves on addrs, loopback if there are none, and returns where. The test fails if Serve does.
func start(t testing.TB, s *dnsserver.Server, addrs ...string) netip.AddrPort {
	t.Helper()
	if len(addrs) == 0 {
		addrs = []string{"127.0.0.1:0"}
	}
	var endpoints []*dnsserver.Endpoint
	for _, a := range addrs {
		e, err := dnsserver.Listen(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		endpoints = append(endpoints, e)
	}
	serve(t, s, endpoints...)
	return endpoints[0].Addr()
}

func serve(t testing.TB, s *dnsserver.Server, endpoints ...*dnsserver.Endpoint) (stop func()) {
	t.Helper()
	if os.Getenv("CNAMED_TEST_PLAIN_UDP") != "" {
		dnsserver.ReadPlainly(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, endpoints...) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(timeout):
			t.Error("Serve does not return")
		}
	})
	t.Cleanup(stop)
	return stop
}

func exchange(t testing.TB, network, server, question string, qtype uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(question, qtype)
	client := &dns.Client{Net: network, Timeout: timeout}
	reply, _, err := client.Exchange(m, server)
	if err != nil {
		t.Fatalf("%s %s over %s: %v", question, dns.Type(qtype), network, err)
	}
	return reply
}

func TestTruncatedAnswerIsWholeOverTCP(t *testing.T) {
	t.Parallel()
	n := newNames()
	n.set("full", expand([]string{"many", "40"})...)
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, n))}).String()
	if m := exchange(t, "udp", server, "full.auth.example.org.", dns.TypeTXT); !m.Truncated || len(m.Answer) != 0 {
		t.Errorf("over UDP: %v", m)
	}
	if m := exchange(t, "tcp", server, "full.auth.example.org.", dns.TypeTXT); m.Truncated || len(m.Answer) != 40 {
		t.Errorf("over TCP: %v", m)
	}
}

func TestUpdateIsServedAtOnce(t *testing.T) {
	t.Parallel()
	n := newNames()
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, n))}).String()
	soa := func() uint32 {
		return exchange(t, "udp", server, "auth.example.org.", dns.TypeSOA).Answer[0].(*dns.SOA).Serial
	}
	before := soa()
	n.set("new", "value")
	if m := exchange(t, "udp", server, "new.auth.example.org.", dns.TypeTXT); len(m.Answer) != 1 {
		t.Errorf("not served: %v", m)
	}
	if after := soa(); after != before+1 {
		t.Errorf("serial %d after %d", after, before)
	}
}

func TestGarbageDoesNotStopService(t *testing.T) {
	t.Parallel()
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames()))})
	c, err := net.Dial("udp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	good, _ := new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA).Pack()
	for i := range len(good) {
		c.Write(good[:i]) // an empty datagram too
	}
	c.Write(make([]byte, 65507))
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0xFF
		c.Write(bad)
	}
	exchange(t, "udp", server.String(), "www.auth.example.org.", dns.TypeA)

	tcp, err := net.Dial("tcp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	tcp.Write([]byte{0, 0})
	expectClosed(t, tcp)
	exchange(t, "tcp", server.String(), "www.auth.example.org.", dns.TypeA)
}

// expectClosed reads until the server closes c.
func expectClosed(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(timeout))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		t.Errorf("the connection is still open: %v", err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// TestPanicCostsOneQuery: a fault in the code behind an answer is SERVFAIL, and is logged once.
func TestPanicCostsOneQuery(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, panicking{})), Log: textLog(&out)}
	request, _ := new(dns.Msg).SetQuestion("Any.auth.example.org.", dns.TypeTXT).Pack()
	for range 3 {
		reply := s.Answer(nil, request, dnsserver.Client{})
		var m dns.Msg
		if err := m.Unpack(reply); err != nil || m.Rcode != dns.RcodeServerFailure || m.Id != binary.BigEndian.Uint16(request) {
			t.Fatalf("reply %v, %v", m, err)
		}
	}
	if strings.Count(out.String(), "panic=") != 1 || !strings.Contains(out.String(), "panicking.AppendTXT") {
		t.Errorf("log:\n%s", &out)
	}
	request, _ = new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA).Pack()
	if reply := s.Answer(nil, request, dnsserver.Client{}); reply[3] != 0 {
		t.Errorf("the next query got %x", reply)
	}
}

type panicking struct{}

func (panicking) AppendTXT(_, _ []byte) ([]byte, bool, error) { panic("on purpose") }
func (panicking) Serial() uint32                              { return 1 }

func TestObservationsHaveClosedLabels(t *testing.T) {
	t.Parallel()
	var seen []string
	s := &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames())), Observe: func(o dnsserver.Observation) {
		seen = append(seen, fmt.Sprintf("%s %s %s %t", o.Transport, o.Type, o.Rcode, o.Size > 0))
	}}
	for _, words := range []string{"www.auth.example.org. A", "x.auth.example.org. TXT tcp", "x.example.com. TYPE65280",
		"www.auth.example.org. A version=1"} {
		request, transport, err := ask(strings.Fields(words))
		if err != nil {
			t.Fatal(err)
		}
		s.Answer(nil, request, dnsserver.Client{Transport: transport})
	}
	s.Answer(nil, make([]byte, 12), dnsserver.Client{})
	s.Answer(nil, make([]byte, 3), dnsserver.Client{})
	want := "[udp A NOERROR true tcp TXT NXDOMAIN true udp other REFUSED true udp A BADVERS true " +
		"udp none FORMERR true udp none dropped false]"
	if fmt.Sprint(seen) != want {
		t.Errorf("observed %v, want %v", seen, want)
	}
}

// TestAcceptErrorsPass: out of file descriptors, then better.
func TestAcceptErrorsPass(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	flaky := &flakyListener{Listener: listener, errs: make(chan error, 4)}
	e, err := dnsserver.Inherit(nil, []net.Listener{flaky})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames())), IdleTimeout: time.Hour}, e)
	idle := dial(t, e.Addr())
	idle.Write(query(t, 1, "www.auth.example.org.", dns.TypeA))
	readReply(t, idle)
	// One time only: each makes room, and on a slow machine the next one by what is asked below.
	for _, err := range []error{syscall.EMFILE, syscall.ECONNABORTED, syscall.ENOBUFS, syscall.ECONNABORTED} {
		flaky.errs <- &net.OpError{Op: "accept", Err: err}
	}
	exchange(t, "tcp", e.Addr().String(), "www.auth.example.org.", dns.TypeA) // wakes Accept
	expectClosed(t, idle)                                                     // it made room
	exchange(t, "tcp", e.Addr().String(), "www.auth.example.org.", dns.TypeA)
	if len(flaky.errs) != 0 {
		t.Error("no error was seen")
	}
}

// flakyListener fails as often as it is told to, before it accepts again.
type flakyListener struct {
	net.Listener
	errs chan error
}

func (l *flakyListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

// TestLostSocketEndsServe: what cannot pass is an error, and nothing is left running.
func TestLostSocketEndsServe(t *testing.T) {
	t.Parallel()
	e, err := dnsserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dnsserver.CloseListeners(e)
	s := &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames()))}
	if err := s.Serve(t.Context(), e); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	if err := s.Serve(t.Context()); err == nil {
		t.Error("Serve without an endpoint")
	}
}
