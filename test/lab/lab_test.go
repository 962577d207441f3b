package lab

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const rootZone = `
.                    SOA  ns.root. admin.root. 1 60 60 60 5
.                    NS   ns.root.
ns.root.             A    192.0.2.1
example.com.         NS   ns1.example.com.
ns1.example.com.     A    192.0.2.53
auth.example.org.    NS   ns.hosting.example.
hosting.example.     NS   ns1.example.com.
`

const corpZone = `
$ORIGIN example.com.
@                    SOA  ns1 hostmaster 7 60 60 60 5
@                    NS   ns1
ns1                  A    192.0.2.53
www                  A    192.0.2.80
_acme-challenge      CNAME 8e5700ea.auth.example.org.
local                CNAME www
loop1                CNAME loop2
loop2                CNAME loop1
*.wild               CNAME target.auth.example.org.
a.deep               TXT  "x"
sub                  NS   ns.sub
ns.sub               A    192.0.2.99
big                  TXT  "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
`

const hostingZone = `
hosting.example.     SOA  ns1.example.com. hostmaster.hosting.example. 1 60 60 60 5
hosting.example.     NS   ns1.example.com.
ns.hosting.example.  A    192.0.2.54
`

const authZone = `
auth.example.org.           SOA  ns.hosting.example. hostmaster.auth.example.org. 1 60 60 60 5
auth.example.org.           NS   ns.hosting.example.
8e5700ea.auth.example.org.  1 TXT  "one"
8e5700ea.auth.example.org.  1 TXT  "two"
`

func startCorp(t *testing.T, zones ...string) *Corp {
	t.Helper()
	c, err := StartCorp(zones...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return c
}

func startResolver(t *testing.T, cfg ResolverConfig) *Resolver {
	t.Helper()
	r, err := StartResolver(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return r
}

// internet is a root, a company's server and the challenge server, and a resolver that knows the root alone.
func internet(t *testing.T) (corp, auth *Corp, r *Resolver) {
	root := startCorp(t, rootZone)
	corp = startCorp(t, corpZone, hostingZone)
	auth = startCorp(t, authZone)
	r = startResolver(t, ResolverConfig{
		Hints: map[string][]string{".": {root.Addr()}},
		Map:   map[string]string{"192.0.2.53": corp.Addr(), "192.0.2.54": auth.Addr()},
	})
	return corp, auth, r
}

func ask(t *testing.T, network, addr, name string, qtype uint16, recurse bool) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.RecursionDesired = recurse
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	reply, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s %s over %s: %v", name, dns.TypeToString[qtype], network, err)
	}
	return reply
}

// short writes a section as "owner TYPE data", sorted.
func short(rrs []dns.RR) string {
	var lines []string
	for _, rr := range rrs {
		h := rr.Header()
		data := strings.TrimPrefix(rr.String(), h.String())
		lines = append(lines, h.Name+" "+dns.TypeToString[h.Rrtype]+" "+data)
	}
	slices.Sort(lines)
	return strings.Join(lines, " | ")
}

func TestCorpAnswersByTheBook(t *testing.T) {
	t.Parallel()
	corp := startCorp(t, corpZone)
	const soa = "example.com. SOA ns1.example.com. hostmaster.example.com. 7 60 60 60 5"
	for _, tt := range []struct {
		name       string
		qtype      uint16
		rcode      int
		aa         bool
		answer, ns string
	}{
		{"www.example.com.", dns.TypeA, 0, true, "www.example.com. A 192.0.2.80", ""},
		{"WwW.eXample.com.", dns.TypeA, 0, true, "WwW.eXample.com. A 192.0.2.80", ""},
		{"www.example.com.", dns.TypeTXT, 0, true, "", soa},
		{"none.example.com.", dns.TypeTXT, dns.RcodeNameError, true, "", soa},
		{"deep.example.com.", dns.TypeTXT, 0, true, "", soa},
		{"_acme-challenge.example.com.", dns.TypeTXT, 0, true, "_acme-challenge.example.com. CNAME 8e5700ea.auth.example.org.", ""},
		{"_acme-challenge.example.com.", dns.TypeCNAME, 0, true, "_acme-challenge.example.com. CNAME 8e5700ea.auth.example.org.", ""},
		{"local.example.com.", dns.TypeA, 0, true, "local.example.com. CNAME www.example.com. | www.example.com. A 192.0.2.80", ""},
		{"x.y.wild.example.com.", dns.TypeTXT, 0, true, "x.y.wild.example.com. CNAME target.auth.example.org.", ""},
		{"x.sub.example.com.", dns.TypeTXT, 0, false, "", "sub.example.com. NS ns.sub.example.com."},
		{"sub.example.com.", dns.TypeDS, 0, true, "", soa},
		{"example.net.", dns.TypeTXT, dns.RcodeRefused, false, "", ""},
	} {
		m := ask(t, "udp", corp.Addr(), tt.name, tt.qtype, false)
		if m.Rcode != tt.rcode || m.Authoritative != tt.aa || short(m.Answer) != tt.answer || short(m.Ns) != tt.ns {
			t.Errorf("%s %s:\n%v", tt.name, dns.TypeToString[tt.qtype], m)
		}
	}
	if m := ask(t, "udp", corp.Addr(), "sub.example.com.", dns.TypeA, false); short(m.Extra) != "ns.sub.example.com. A 192.0.2.99" {
		t.Errorf("a referral without its glue:\n%v", m)
	}
}

func TestCorpChangesWhileItRuns(t *testing.T) {
	t.Parallel()
	corp := startCorp(t, corpZone)
	const record = "new.example.com. CNAME www.example.com."
	if err := corp.Add(record); err != nil {
		t.Fatal(err)
	}
	if m := ask(t, "tcp", corp.Addr(), "new.example.com.", dns.TypeCNAME, false); len(m.Answer) != 1 {
		t.Errorf("after Add:\n%v", m)
	}
	if err := corp.Remove(record); err != nil {
		t.Fatal(err)
	}
	if m := ask(t, "tcp", corp.Addr(), "new.example.com.", dns.TypeCNAME, false); m.Rcode != dns.RcodeNameError {
		t.Errorf("after Remove:\n%v", m)
	}
	if err := corp.Remove(record); err == nil {
		t.Error("a record that is not there was removed")
	}
	if err := corp.Add("www.example.net. A 192.0.2.1"); err == nil {
		t.Error("a record out of all zones was added")
	}
}

func TestCorpMisbehavesAsTold(t *testing.T) {
	t.Parallel()
	corp := startCorp(t, corpZone)
	corp.Fail("www.example.com", ServFail)
	corp.Fail("local.example.com.", Truncated)
	if m := ask(t, "udp", corp.Addr(), "www.example.com.", dns.TypeA, false); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("ServFail:\n%v", m)
	}
	if m := ask(t, "udp", corp.Addr(), "local.example.com.", dns.TypeA, false); !m.Truncated || len(m.Answer) != 0 {
		t.Errorf("Truncated over UDP:\n%v", m)
	}
	if m := ask(t, "tcp", corp.Addr(), "local.example.com.", dns.TypeA, false); m.Truncated || len(m.Answer) != 2 {
		t.Errorf("Truncated over TCP:\n%v", m)
	}
	corp.Fail("www.example.com", None)
	if m := ask(t, "udp", corp.Addr(), "www.example.com.", dns.TypeA, false); len(m.Answer) != 1 {
		t.Errorf("None:\n%v", m)
	}
	if got := corp.Queries()[2]; got != (Query{"local.example.com.", dns.TypeA, "tcp"}) {
		t.Errorf("the third query was %v", got)
	}
}

func TestCorpRefusesBadZones(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "example.com. A 192.0.2.1", "example.com. SOA a. b. 1 2 3 x 5", corpZone + authZone,
		"example.com. SOA a. b. 1 2 3 4 5\nexample.net. A 192.0.2.1"} {
		if _, err := StartCorp(text); err == nil {
			t.Errorf("accepted %q", text)
		}
	}
}

func TestResolverFollowsDelegationsAndCNAMEs(t *testing.T) {
	t.Parallel()
	_, _, r := internet(t)
	const chain = "8e5700ea.auth.example.org. TXT \"one\" | 8e5700ea.auth.example.org. TXT \"two\" | _acme-challenge.example.com. CNAME 8e5700ea.auth.example.org."
	const authSOA = "auth.example.org. SOA ns.hosting.example. hostmaster.auth.example.org. 1 60 60 60 5"
	for _, network := range []string{"udp", "tcp"} {
		for _, tt := range []struct {
			name       string
			qtype      uint16
			rcode      int
			answer, ns string
		}{
			{"_acme-challenge.example.com.", dns.TypeTXT, 0, chain, ""},
			{"_acme-challenge.example.com.", dns.TypeCNAME, 0, "_acme-challenge.example.com. CNAME 8e5700ea.auth.example.org.", ""},
			{"_acme-challenge.example.com.", dns.TypeSOA, 0, "_acme-challenge.example.com. CNAME 8e5700ea.auth.example.org.", authSOA},
			{"auth.example.org.", dns.TypeSOA, 0, authSOA, ""},
			{"auth.example.org.", dns.TypeNS, 0, "auth.example.org. NS ns.hosting.example.", ""},
			{"local.example.com.", dns.TypeA, 0, "local.example.com. CNAME www.example.com. | www.example.com. A 192.0.2.80", ""},
			{"x.wild.example.com.", dns.TypeTXT, dns.RcodeNameError, "x.wild.example.com. CNAME target.auth.example.org.", authSOA},
			{"loop1.example.com.", dns.TypeTXT, dns.RcodeServerFailure, "", ""},
		} {
			m := ask(t, network, r.Addr(), tt.name, tt.qtype, true)
			if m.Rcode != tt.rcode || !m.RecursionAvailable || short(m.Answer) != tt.answer || short(m.Ns) != tt.ns {
				t.Errorf("%s %s over %s:\n%v", tt.name, dns.TypeToString[tt.qtype], network, m)
			}
		}
	}
}

func TestResolverSeesChangesAtOnce(t *testing.T) {
	t.Parallel()
	_, auth, r := internet(t)
	if err := auth.Add(`8e5700ea.auth.example.org. TXT "three"`); err != nil {
		t.Fatal(err)
	}
	if m := ask(t, "udp", r.Addr(), "8e5700ea.auth.example.org.", dns.TypeTXT, true); len(m.Answer) != 3 {
		t.Errorf("an old answer:\n%v", m)
	}
}

func TestResolverPassesOverABadServer(t *testing.T) {
	t.Parallel()
	bad, good := startCorp(t, corpZone), startCorp(t, corpZone)
	for _, fault := range []Fault{ServFail, Refused, Garbage, Silent} {
		bad.Fail("", fault)
		r := startResolver(t, ResolverConfig{
			Hints:   map[string][]string{"example.com": {bad.Addr(), good.Addr()}},
			Timeout: 100 * time.Millisecond,
		})
		if m := ask(t, "udp", r.Addr(), "www.example.com.", dns.TypeA, true); len(m.Answer) != 1 {
			t.Errorf("fault %v:\n%v", fault, m)
		}
	}
	if len(bad.Queries()) != 4 {
		t.Errorf("the bad server was asked %d times", len(bad.Queries()))
	}
}

func TestResolverGetsLargeAnswersOverTCP(t *testing.T) {
	t.Parallel()
	corp := startCorp(t, corpZone)
	for _, letter := range "abcdefghijklmnopqrst" {
		if err := corp.Add(`big.example.com. TXT "` + strings.Repeat(string(letter), 100) + `"`); err != nil {
			t.Fatal(err)
		}
	}
	r := startResolver(t, ResolverConfig{Hints: map[string][]string{"example.com": {corp.Addr()}}})
	if m := ask(t, "udp", r.Addr(), "big.example.com.", dns.TypeTXT, true); !m.Truncated {
		t.Errorf("2 kB over UDP were not truncated:\n%v", m)
	}
	if m := ask(t, "tcp", r.Addr(), "big.example.com.", dns.TypeTXT, true); m.Truncated || len(m.Answer) != 21 {
		t.Errorf("%d of 21 records", len(m.Answer))
	}
}
