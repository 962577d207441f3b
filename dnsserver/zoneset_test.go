package dnsserver_test

import (
	"maps"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// makeZone makes a zone with one name server outside of it.
func makeZone(t testing.TB, origin string, names dnsserver.Names, records ...string) *dnsserver.Zone {
	t.Helper()
	z, err := dnsserver.NewZone(dnsserver.ZoneConfig{
		Origin: origin, NameServers: []string{"ns.example.net"}, Records: records,
	}, names)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestNamesBelongToTheLongestOrigin(t *testing.T) {
	t.Parallel()
	registered := newNames()
	registered.set("one", "value")
	zones := dnsserver.NewZoneSet(
		makeZone(t, "example.org", nil, "below.x TXT parent", "sub NS ns.example.net.", "sub DS 1 13 2 "+sha256Zero),
		makeZone(t, "auth.example.org", registered, "@ TXT auth"),
		makeZone(t, "x.example.org", registered, "@ TXT x"),
		makeZone(t, "sub.example.org", nil, "@ TXT sub"),
		makeZone(t, "other.test", registered, "@ TXT other"),
		makeZone(t, "other.test", nil, "@ TXT twice"),
	)
	server := &dnsserver.Server{Zones: zones}
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string // the only TXT, or the rcode and the owner of the SOA
	}{
		{"auth.example.org.", dns.TypeTXT, "auth"},
		{"one.auth.example.org.", dns.TypeTXT, "value"},
		{"ONE.Other.TEST.", dns.TypeTXT, "value"},
		{"other.test.", dns.TypeTXT, "other"},
		{"one.x.example.org.", dns.TypeTXT, "value"},
		{"sub.example.org.", dns.TypeTXT, "sub"},
		{"one.sub.example.org.", dns.TypeTXT, "NXDOMAIN sub.example.org."},
		{"one.example.org.", dns.TypeTXT, "NXDOMAIN example.org."},
		{"below.x.example.org.", dns.TypeTXT, "NXDOMAIN x.example.org."}, // what the parent has there is hidden
		{"xauth.example.org.", dns.TypeTXT, "NXDOMAIN example.org."},
		{"org.", dns.TypeTXT, "REFUSED"},
		{".", dns.TypeTXT, "REFUSED"},
		// RFC 4035 §3.1.4.1
		{"sub.example.org.", dns.TypeDS, "DS"},
		{"x.example.org.", dns.TypeDS, "NOERROR example.org."},
		{"other.test.", dns.TypeDS, "NOERROR other.test."},
		{"x.sub.example.org.", dns.TypeDS, "NXDOMAIN sub.example.org."},
	} {
		m := reply(t, server, new(dns.Msg).SetQuestion(c.name, c.qtype))
		got := dns.RcodeToString[m.Rcode]
		switch {
		case len(m.Answer) == 1 && c.qtype == dns.TypeTXT:
			got = m.Answer[0].(*dns.TXT).Txt[0]
		case len(m.Answer) == 1:
			got = dns.TypeToString[m.Answer[0].Header().Rrtype]
		case len(m.Ns) == 1:
			got += " " + m.Ns[0].Header().Name
		}
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, dns.Type(c.qtype), got, c.want)
		}
	}
	if n := len(zones.Zones()); n != 5 {
		t.Errorf("%d zones", n)
	}
}

func TestUndelegatedZones(t *testing.T) {
	t.Parallel()
	above := makeZone(t, "example.org", nil, "sub NS ns.example.net.", "x TXT x", "deep NS ns.example.net.")
	zones := []*dnsserver.Zone{
		above, makeZone(t, "sub.example.org", nil, "b.c NS ns.example.net."), makeZone(t, "x.example.org", nil),
		makeZone(t, "a.deep.example.org", nil), makeZone(t, "absent.example.org", nil), makeZone(t, "c.sub.example.org", nil),
		makeZone(t, "example.com", nil),
	}
	found := dnsserver.NewZoneSet(zones...).Undelegated()
	want := map[*dnsserver.Zone]*dnsserver.Zone{zones[2]: above, zones[4]: above, zones[5]: zones[1]}
	if !maps.Equal(found, want) {
		t.Errorf("undelegated are %v, want %v", found, want)
	}
}

// TestNameInTheZoneBelow: a CNAME that leads to a zone below ends in a referral to it, as it would if another server had
// it, and never in a denial.
func TestNameInTheZoneBelow(t *testing.T) {
	t.Parallel()
	registered := newNames()
	registered.set("one", "value")
	server := &dnsserver.Server{Zones: dnsserver.NewZoneSet(
		makeZone(t, "example.org", nil, "_acme-challenge.www CNAME one.auth", "auth NS ns.example.net."),
		makeZone(t, "auth.example.org", registered),
	)}
	m := reply(t, server, new(dns.Msg).SetQuestion("_acme-challenge.www.example.org.", dns.TypeTXT))
	if m.Rcode != dns.RcodeSuccess || !m.Authoritative || len(m.Answer) != 1 || len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeNS {
		t.Errorf("%v", m)
	}
	if m := reply(t, server, new(dns.Msg).SetQuestion("auth.example.org.", dns.TypeDS)); m.Rcode != dns.RcodeSuccess || len(m.Answer) > 0 {
		t.Errorf("%v", m)
	}
}

func TestReservedInAnyZone(t *testing.T) {
	t.Parallel()
	zones := dnsserver.NewZoneSet(
		makeZone(t, "auth.example.org", newNames(), "www A 192.0.2.1"),
		makeZone(t, "auth.example.net", newNames(), "mail A 192.0.2.1"),
		makeZone(t, "static.test", nil, "free A 192.0.2.1"),
		makeZone(t, "x.deep.auth.example.org", nil),
	)
	for label, want := range map[string]bool{"www": true, "mail": true, "deep": true, "_acme-challenge": true, "free": false, "x": false} {
		if got := zones.Reserved(label); got != want {
			t.Errorf("%s: %v", label, got)
		}
	}
}

const sha256Zero = "0000000000000000000000000000000000000000000000000000000000000000"

// reply asks without a network.
func reply(t testing.TB, server *dnsserver.Server, question *dns.Msg) *dns.Msg {
	t.Helper()
	request, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(server.Answer(nil, request, dnsserver.Client{})); err != nil {
		t.Fatal(err)
	}
	return m
}
