package delegate

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"cnamed/test/lab"

	"github.com/miekg/dns"
)

func TestZoneHasAllAddressesOfAllServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.corp(t, goodCNAME)
	for _, name := range []string{challenge, "Example.com", "no.such.name.example.com."} {
		got, err := w.checker.Resolver.Zone(t.Context(), name)
		want := Zone{"example.com.", []Authority{
			{"ns1.example.com.", []string{"192.0.2.1"}},
			{"ns2.example.com.", []string{"192.0.2.2", "2001:db8::2"}},
		}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestTruncatedAnswerIsAskedForOverTCP(t *testing.T) {
	t.Parallel()
	corp := startCorp(t, corpZone)
	for _, letter := range "abcdefghijklmnopqrst" {
		add(t, corp, challenge+` TXT "`+strings.Repeat(string(letter), 100)+`"`)
	}
	r := &Resolver{}
	reply, err := r.ask(t.Context(), corp.Addr(), challenge, dns.TypeTXT, false)
	if err != nil || len(reply.Answer) != 20 {
		t.Errorf("%v, %v", reply, err)
	}
	var networks []string
	for _, q := range corp.Queries() {
		networks = append(networks, q.Network)
	}
	if !reflect.DeepEqual(networks, []string{"udp", "tcp"}) {
		t.Errorf("asked over %v", networks)
	}
}

func TestServerOfBeforeEDNSIsUnderstood(t *testing.T) {
	t.Parallel()
	corp := startCorp(t, corpZone)
	corp.Fail("", lab.NoEDNS)
	reply, err := (&Resolver{}).ask(t.Context(), corp.Addr(), "www.example.com.", dns.TypeA, false)
	if err != nil || len(reply.Answer) != 1 {
		t.Errorf("%v, %v", reply, err)
	}
}

func TestNextResolverIsAskedWhenOneFails(t *testing.T) {
	t.Parallel()
	bad, good := startCorp(t, corpZone), startCorp(t, corpZone)
	for _, fault := range []lab.Fault{lab.ServFail, lab.Refused, lab.Silent} {
		bad.Fail("", fault)
		r := &Resolver{Servers: []string{bad.Addr(), good.Addr()}, Timeout: 100 * time.Millisecond}
		if reply, err := r.lookup(t.Context(), "www.example.com.", dns.TypeA); err != nil || len(reply.Answer) != 1 {
			t.Errorf("fault %v: %v", fault, err)
		}
		r.Servers = r.Servers[:1]
		var e *ServerError
		if _, err := r.lookup(t.Context(), "www.example.com.", dns.TypeA); !errors.As(err, &e) || e.Server != bad.Addr() {
			t.Errorf("fault %v: %v", fault, err)
		}
	}
}

func TestLookupEndsWithItsContext(t *testing.T) {
	t.Parallel()
	silent := startCorp(t, corpZone)
	silent.Fail("", lab.Silent)
	ctx, cancel := context.WithCancel(t.Context())
	r := &Resolver{Timeout: time.Hour, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		time.AfterFunc(10*time.Millisecond, cancel) // while it reads
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	if _, err := r.ask(ctx, silent.Addr(), "www.example.com.", dns.TypeA, false); err == nil {
		t.Error("an answer from a silent server")
	}
}

// forger answers each query with forged replies first, each wrong in its own way, then with the true one.
func TestForgedRepliesAreIgnored(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		for _, forge := range []func(*dns.Msg){
			func(m *dns.Msg) { m.Id++ },
			func(m *dns.Msg) { m.Response = false },
			func(m *dns.Msg) { m.Question[0].Name = "other.example." },
			func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA },
			func(m *dns.Msg) { m.Question = nil },
			func(m *dns.Msg) { m.Answer = []dns.RR{txt("true")} },
		} {
			var query dns.Msg
			_ = query.Unpack(buf[:n])
			m := new(dns.Msg).SetReply(&query)
			m.Answer = []dns.RR{txt("forged")}
			forge(m)
			wire, _ := m.Pack()
			_, _ = conn.WriteTo(wire, from)
		}
	}()
	reply, err := (&Resolver{}).ask(t.Context(), conn.LocalAddr().String(), challenge, dns.TypeTXT, false)
	if err != nil || len(reply.Answer) != 1 || reply.Answer[0].(*dns.TXT).Txt[0] != "true" {
		t.Errorf("%v, %v", reply, err)
	}
}

func txt(value string) dns.RR {
	return &dns.TXT{Hdr: dns.RR_Header{Name: challenge, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{value}}
}

// No packet makes us panic or run on, and what is understood of it is about the name that was asked for.
func FuzzReply(f *testing.F) {
	query := new(dns.Msg).SetQuestion(challenge, dns.TypeTXT)
	query.Id = 0x1234
	seed := func(records ...string) {
		m := new(dns.Msg).SetReply(query)
		m.Authoritative = true
		for _, text := range records {
			rr, err := dns.NewRR(text)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	seed()
	seed(challenge + ` TXT "value"`)
	seed(goodCNAME, target+`. TXT "value" "more"`)
	seed(challenge+" CNAME "+challenge, challenge+` TXT "x"`)
	f.Fuzz(func(t *testing.T, packet []byte) {
		reply, err := parseReply(packet, query)
		if err != nil {
			return
		}
		for _, recurse := range []bool{false, true} {
			a := understand(reply, challenge, endpoint{recurse: recurse})
			if a.says() == "" {
				t.Fatal("an answer that says nothing")
			}
			if a.cname != "" && cnameOf(reply.Answer, challenge) != a.cname {
				t.Fatalf("CNAME %q out of nowhere", a.cname)
			}
			if a.err == nil && !recurse && !reply.Authoritative {
				t.Fatal("an answer that is not authoritative was taken")
			}
		}
	})
}
