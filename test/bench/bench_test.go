//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestMain(m *testing.M) {
	spareThreads()
	m.Run()
}

func TestMixIsWhatItSays(t *testing.T) {
	t.Parallel()
	names := testNames(4000)
	c, err := mixCorpus(names)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	var absent, other, plain, upper int
	for i := range c.len() {
		var m dns.Msg
		if err := m.Unpack(c.query(i)); err != nil {
			t.Fatal(err)
		}
		q := m.Question[0]
		label, _, _ := strings.Cut(q.Name, ".")
		if q.Name != strings.ToLower(q.Name) {
			upper++
		}
		switch {
		case !known[strings.ToLower(label)]:
			absent++
		case q.Qtype != dns.TypeTXT:
			other++
		default:
			plain++
		}
	}
	if absent != 2000 || other != 1000 || plain != 1000 || upper < 3990 {
		t.Errorf("%d absent, %d of other types, %d plain, %d in mixed case", absent, other, plain, upper)
	}
}

func TestSteadyKeepsItsRateAndSeesEveryAnswer(t *testing.T) {
	t.Parallel()
	server := startReflector(t, func(m []byte) { m[2] |= 0x80 })
	l := load{server: server, queries: testCorpus(t), stamped: true}
	r, err := l.steady(context.Background(), 2000, 250*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.sent != 500 || len(r.late) != 500 {
		t.Errorf("%d sent, of 500", r.sent)
	}
	// Of 32 sockets, asked in turn, every fourth is measured.
	if n := len(r.latencies); r.answered != 500 || n < 500/8 || n > 500/2 || len(r.since) != n {
		t.Errorf("%d answered, %d measured", r.answered, n)
	}
	for i, l := range r.latencies {
		if l < 0 || r.since[i] < l {
			t.Fatalf("%v after it was sent, %v after it was due", l, r.since[i])
		}
	}
	if err := r.check(); err != nil {
		t.Error(err)
	}
}

func TestFloodFailsWhereAServerRefusesOrTruncates(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func([]byte){
		"refused":   func(m []byte) { m[2] |= 0x80; m[3] |= dns.RcodeRefused },
		"truncated": func(m []byte) { m[2] |= 0x82 },
		"silent":    func(m []byte) {}, // no response
	} {
		l := load{server: startReflector(t, answer), queries: testCorpus(t)}
		r, err := l.flood(context.Background(), 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if r.check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheckerSeesAnOldAnswer(t *testing.T) {
	t.Parallel()
	for _, served := range []string{"the new value", "the value before"} {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{served}})
			_ = w.WriteMsg(m)
		})}
		go server.ActivateAndServe()
		t.Cleanup(func() { server.Shutdown() })
		conn, err := net.Dial("udp", pc.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		u := newUpdater(nil, nil, 1, 1)
		u.workers[0].dns = conn
		if err := u.workers[0].check(account{Subdomain: "name"}, "the new value"); err != nil {
			t.Fatal(err)
		}
		if failed := u.report() != nil; failed != (served == "the value before") {
			t.Errorf("served %s: failed %v", served, failed)
		}
	}
}

func TestOnlyTimeOfOthersIsTheirs(t *testing.T) {
	t.Parallel()
	m := machine{at: time.Unix(10, 0), idle: 5 * time.Second, cores: 2}
	before := machine{at: time.Unix(0, 0), cores: 2}
	idle, others := m.since(before, 10*time.Second)
	if idle != 0.25 || others != 0.25 {
		t.Errorf("idle %v, others %v", idle, others)
	}
}

func testNames(n int) (names []string) {
	for _, id := range sortedUUIDs(n, 1) {
		names = append(names, id.String())
	}
	return names
}

func testCorpus(t *testing.T) *corpus {
	t.Helper()
	c, err := plainCorpus(testNames(100))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startReflector sends each datagram back as answer made it.
func startReflector(t *testing.T, answer func([]byte)) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			answer(b[:n])
			_, _ = conn.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}
