package dnsserver_test

import (
	"encoding/base64"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// notified is a NOTIFY that a secondary got.
type notified struct {
	serial uint32
	from   netip.AddrPort
	key    string
	err    error // of the signature
}

// secondary is one that hears NOTIFY, and confirms them. reply, if it is set, may change the reply to the nth, which is not
// sent where it returns false.
func secondary(t *testing.T, reply func(n int, m *dns.Msg) bool) (addr netip.AddrPort, heard <-chan notified) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan notified, 1000)
	var n atomic.Int32
	server := &dns.Server{
		PacketConn:    conn,
		TsigSecret:    map[string]string{testKey: base64.StdEncoding.EncodeToString([]byte(testSecret))},
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
			count := int(n.Add(1))
			got := notified{from: w.RemoteAddr().(*net.UDPAddr).AddrPort(), err: w.TsigStatus()}
			if len(m.Answer) == 1 && m.Opcode == dns.OpcodeNotify && m.Authoritative && m.Question[0].Qtype == dns.TypeSOA {
				got.serial = m.Answer[0].(*dns.SOA).Serial
			}
			confirmation := new(dns.Msg).SetReply(m)
			if sig := m.IsTsig(); sig != nil {
				got.key = sig.Hdr.Name
				confirmation.SetTsig(sig.Hdr.Name, sig.Algorithm, 300, time.Now().Unix())
			}
			if reply == nil || reply(count, confirmation) {
				_ = w.WriteMsg(confirmation)
			}
			ch <- got
		}),
	}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), ch
}

func notifyingZone(t *testing.T, h *history, to ...dnsserver.Secondary) *dnsserver.ZoneSet {
	t.Helper()
	z, err := dnsserver.NewZone(dnsserver.ZoneConfig{
		Origin: "auth.example.org", NameServers: []string{"ns.example.net"}, Notify: to,
	}, h)
	if err != nil {
		t.Fatal(err)
	}
	return dnsserver.NewZoneSet(z)
}

// hear waits for a NOTIFY.
func hear(t *testing.T, heard <-chan notified) notified {
	t.Helper()
	select {
	case n := <-heard:
		return n
	case <-time.After(timeout):
		t.Fatal("no NOTIFY")
		return notified{}
	}
}

func TestNotifyAtTheStartAndAtEachChange(t *testing.T) {
	t.Parallel()
	plain, heardPlain := secondary(t, nil)
	keyed, heardKeyed := secondary(t, nil)
	h := newHistory()
	start(t, &dnsserver.Server{Keys: keyring(t), Zones: notifyingZone(t, h,
		dnsserver.Secondary{Addr: plain}, dnsserver.Secondary{Addr: keyed, Key: testKey})})
	for range 3 {
		if n := hear(t, heardPlain); n.serial != h.Serial() || n.key != "" || n.from.Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("got %+v, want serial %d", n, h.Serial())
		}
		if n := hear(t, heardKeyed); n.serial != h.Serial() || n.key != testKey || n.err != nil {
			t.Errorf("got %+v, want serial %d signed", n, h.Serial())
		}
		h.set("one", "value")
	}
}

func TestNotifyIsRepeatedUntilConfirmed(t *testing.T) {
	t.Parallel()
	addr, heard := secondary(t, func(n int, _ *dns.Msg) bool { return n > 2 })
	h := newHistory()
	start(t, &dnsserver.Server{Zones: notifyingZone(t, h, dnsserver.Secondary{Addr: addr})})
	for range 3 {
		if n := hear(t, heard); n.serial != h.Serial() {
			t.Errorf("%+v", n)
		}
	}
	h.set("one", "value")
	if n := hear(t, heard); n.serial != h.Serial() {
		t.Errorf("after the confirmation: %+v, want the next serial %d", n, h.Serial())
	}
}

// TestNotifyIsNotConfirmedByAnything: what is no reply to it, or is not signed as it is, leaves it to be repeated.
func TestNotifyIsNotConfirmedByAnything(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		key    string
		change func(*dns.Msg)
	}{
		{"not signed, RFC 8945 §5.3", testKey, func(m *dns.Msg) { m.Extra = nil }},
		{"signed too long ago", testKey, func(m *dns.Msg) { m.IsTsig().TimeSigned -= 301 }},
		{"another opcode", "", func(m *dns.Msg) { m.Opcode = dns.OpcodeQuery }},
		{"another opcode, signed", testKey, func(m *dns.Msg) { m.Opcode = dns.OpcodeQuery }},
		{"another ID", "", func(m *dns.Msg) { m.Id++ }},
		{"a request", "", func(m *dns.Msg) { m.Response = false }},
		{"an error", "", func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr, heard := secondary(t, func(n int, m *dns.Msg) bool {
				if n == 1 {
					c.change(m)
				}
				return true
			})
			h := newHistory()
			start(t, &dnsserver.Server{Keys: keyring(t), Zones: notifyingZone(t, h, dnsserver.Secondary{Addr: addr, Key: c.key})})
			for i := range 2 {
				if n := hear(t, heard); n.serial != h.Serial() || n.key != c.key || n.err != nil {
					t.Errorf("NOTIFY %d: %+v", i, n)
				}
			}
			h.set("one", "value")
			if n := hear(t, heard); n.serial != h.Serial() {
				t.Errorf("repeated after the confirmation: %+v", n)
			}
		})
	}
}

func TestManyChangesAreToldTogether(t *testing.T) {
	t.Parallel()
	addr, heard := secondary(t, nil)
	h := newHistory()
	start(t, &dnsserver.Server{Zones: notifyingZone(t, h, dnsserver.Secondary{Addr: addr})})
	for range 500 {
		h.set("one", "value")
	}
	last, count := h.Serial(), 0
	for {
		count++
		if hear(t, heard).serial == last {
			break
		}
	}
	if count > 250 {
		t.Errorf("%d NOTIFY for 500 changes", count)
	}
}

// TestServeEndsWhileASecondaryIsSilent: one that never answers, and one where nobody listens, hold up nothing.
func TestServeEndsWhileASecondaryIsSilent(t *testing.T) {
	t.Parallel()
	silent, heard := secondary(t, func(int, *dns.Msg) bool { return false })
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	closed.Close()
	e, err := dnsserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, &dnsserver.Server{Zones: notifyingZone(t, newHistory(),
		dnsserver.Secondary{Addr: silent}, dnsserver.Secondary{Addr: nobody})}, e)
	hear(t, heard)
	stop() // fails if it takes long
}
