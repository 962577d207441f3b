package dnsserver_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// TestReplyComesFromTheAddressAsked: RFC 2181 §4.1. A connected UDP socket takes no reply from elsewhere.
func TestReplyComesFromTheAddressAsked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ listen, ask string }{
		{"0.0.0.0:0", "127.0.0.2"}, {"0.0.0.0:0", "127.0.0.1"}, {":0", "127.0.0.3"}, {":0", "::1"}, {"[::]:0", "::1"},
	} {
		e, err := dnsserver.Listen(t.Context(), test.listen)
		if err != nil {
			t.Logf("skipping %s: %v", test.listen, err)
			continue
		}
		serve(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames()))}, e)
		to := net.JoinHostPort(test.ask, fmt.Sprint(e.Addr().Port()))
		if probe, err := net.Dial("udp", to); err != nil {
			t.Logf("skipping %s: %v", to, err)
			continue
		} else {
			probe.Close()
		}
		if m := exchange(t, "udp", to, "www.auth.example.org.", dns.TypeA); len(m.Answer) != 1 {
			t.Errorf("%s: %v", to, m)
		}
	}
}

func TestUnspecifiedAddressIsOfOneFamily(t *testing.T) {
	t.Parallel()
	v4, err := dnsserver.Listen(t.Context(), "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer v4.Close()
	v6, err := dnsserver.Listen(t.Context(), fmt.Sprintf("[::]:%d", v4.Addr().Port()))
	if err != nil {
		t.Fatalf("beside %s: %v", v4, err)
	}
	defer v6.Close()
	if !v4.Addr().Addr().Is4() || !v6.Addr().Addr().Is6() {
		t.Errorf("%s and %s", v4, v6)
	}
}

func TestBusyPortIsAnErrorWithAHint(t *testing.T) {
	t.Parallel()
	e, err := dnsserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	check := func(err error, network string) {
		t.Helper()
		var listen *dnsserver.ListenError
		if !errors.As(err, &listen) || listen.Network != network || !errors.Is(err, syscall.EADDRINUSE) ||
			!strings.Contains(listen.Hint(), "systemd-resolved") || !strings.Contains(err.Error(), e.Addr().String()) {
			t.Errorf("%v", err)
		}
	}
	_, err = dnsserver.Listen(t.Context(), e.Addr().String())
	check(err, "tcp")
	// UDP taken alone, by sockets that would share the port with others of their kind.
	dnsserver.CloseListeners(e)
	_, err = dnsserver.Listen(t.Context(), e.Addr().String())
	check(err, "udp")
}

func TestBadListenAddresses(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"", "53", "127.0.0.1", "localhost:53", "127.0.0.1:domain", "127.0.0.1:65536", "::1:53"} {
		if e, err := dnsserver.Listen(t.Context(), a); err == nil {
			e.Close()
			t.Errorf("%q was taken", a)
		}
	}
	_, err := dnsserver.Listen(t.Context(), "192.0.2.1:0")
	var listen *dnsserver.ListenError
	if !errors.As(err, &listen) || listen.Hint() == "" {
		t.Errorf("an address of nobody here: %v", err)
	}
}

func TestInheritedSocketsAreServed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	e, err := dnsserver.Inherit([]net.PacketConn{packets}, []net.Listener{listener})
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames()))}, e)
	exchange(t, "tcp", listener.Addr().String(), "www.auth.example.org.", dns.TypeA)
	udp := fmt.Sprintf("127.0.0.2:%d", packets.LocalAddr().(*net.UDPAddr).Port)
	exchange(t, "udp", udp, "www.auth.example.org.", dns.TypeA)
	stop()
	if _, err := packets.WriteTo([]byte{0}, packets.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the inherited socket is open after Serve: %v", err)
	}
}
