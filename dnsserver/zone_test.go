package dnsserver_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

var addr = netip.MustParseAddr("192.0.2.53")

// faults flattens the joined errors of NewZone.
func faults(t *testing.T, err error) []*dnsserver.ConfigError {
	t.Helper()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%v is not joined", err)
	}
	var out []*dnsserver.ConfigError
	for _, err := range joined.Unwrap() {
		var e *dnsserver.ConfigError
		if !errors.As(err, &e) {
			t.Fatalf("%v is no ConfigError", err)
		}
		out = append(out, e)
	}
	return out
}

func TestBadRecordsAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 60)
	for _, test := range []struct {
		records []string
		faults  []int  // which of records
		says    string // a part of the first fault
	}{
		{[]string{"www A 192.0.2.1", "www A 192.0.2.1"}, nil, ""},
		{[]string{"www A 192.0.2.1", "www AAAA 2001:db8::1", "* CNAME www", "a.*.b TXT x"}, nil, ""},
		{[]string{"www A 192.0.2.300"}, []int{0}, "not a record"},
		{[]string{"www B 192.0.2.3"}, []int{0}, "write it as in"},
		{[]string{""}, []int{0}, "no record"},
		{[]string{"; a comment"}, []int{0}, "no record"},
		{[]string{"$INCLUDE /etc/passwd"}, []int{0}, "directive"},
		{[]string{"$GENERATE 1-1000000 host$ A 192.0.2.1"}, []int{0}, "directive"},
		{[]string{"a A 192.0.2.1\nb A 192.0.2.2"}, []int{0}, "more than one record"},
		{[]string{"www CH A 192.0.2.1"}, []int{0}, "class"},
		{[]string{"www 4294967295 A 192.0.2.1"}, []int{0}, "TTL"},
		{[]string{"@ SOA ns hostmaster 1 2 3 4 5"}, []int{0}, "SOA is made by the server"},
		{[]string{"www.example.com. A 192.0.2.1"}, []int{0}, "outside the zone"},
		{[]string{"xauth.example.org. A 192.0.2.1"}, []int{0}, "outside the zone"},
		{[]string{"auth.example.org A 192.0.2.1"}, []int{0}, "end the full name with a dot"},
		{[]string{"www CNAME host.auth.example.org"}, []int{0}, "end the full name with a dot"},
		{[]string{"www TXT host.auth.example.org.auth.example.org."}, nil, ""},
		{[]string{"müller A 192.0.2.1"}, []int{0}, "Punycode"},
		{[]string{long + long + " A 192.0.2.1"}, []int{0}, ""},
		{[]string{"www DNAME example.com."}, []int{0}, "CNAME"},
		{[]string{"www ANY \\# 0"}, []int{0}, ""},
		{[]string{"www NXNAME \\# 0"}, []int{0}, ""},

		{[]string{"www CNAME a", "www CNAME a"}, []int{1}, "twice"},
		{[]string{"www CNAME a", "www CNAME b"}, []int{1}, "second CNAME"},
		{[]string{"www CNAME a", "www A 192.0.2.1"}, []int{0}, "RFC 1034 §3.6.2"},
		{[]string{"@ CNAME a"}, []int{0}, "origin"},
		{[]string{"www 60 A 192.0.2.1", "www 61 A 192.0.2.2"}, []int{1}, "TTL"},
		{[]string{"sub NS ns.example.com.", "www.sub A 192.0.2.1"}, []int{1}, "sub.auth.example.org. is delegated"},
		{[]string{"sub NS ns.example.com.", "sub A 192.0.2.1"}, []int{1}, "delegated"},
		{[]string{"sub NS ns.example.com.", "sub.sub NS ns.example.com."}, []int{1}, "delegated"},
		{[]string{"sub NS ns.sub", "ns.sub A 192.0.2.1", "ns.sub TXT x"}, []int{2}, "delegated"},
		{[]string{"sub NS ns.sub", "ns.sub A 192.0.2.1"}, nil, ""},
		{[]string{"sub NS ns.sub"}, []int{0}, "has no address"},
		{[]string{"sub NS ns.sub", "ns.sub A 192.0.2.1", "x NS ns.sub", "y NS other.sub", "z NS ns.example.com."}, nil, ""},
		{[]string{"sub NS ns"}, []int{0}, "has no address"},
		{[]string{"sub NS ns", "*.x A 192.0.2.1"}, []int{0}, "has no address"},
		{[]string{"sub NS ns", "* A 192.0.2.1"}, nil, ""},
		{[]string{"sub NS @"}, nil, ""},
		{[]string{"sub NS www", "www CNAME a"}, []int{0}, "alias"},
		{[]string{"sub DS 1 13 2 00"}, []int{0}, "delegation"},
		{[]string{"* NS ns.example.com."}, []int{0}, "wildcard"},
		{[]string{"@ NS ns1"}, nil, ""},
		{[]string{"@ NS www", "www CNAME a"}, []int{0}, "alias"},
		{[]string{"_acme-challenge CNAME www"}, []int{0}, "own challenge"},
		{[]string{"_acme-challenge NS ns.example.com."}, []int{0}, "own challenge"},
		{[]string{"_acme-challenge TXT x"}, nil, ""},
	} {
		config := dnsserver.ZoneConfig{Origin: "auth.example.org", Addrs: []netip.Addr{addr}, Records: test.records}
		_, err := dnsserver.NewZone(config, newNames())
		var got []int
		for _, e := range faults(t, err) {
			if e.Field != "records" || e.Value != test.records[e.Index] {
				t.Errorf("%q: fault at %s %q", test.records, e.Field, e.Value)
			}
			got = append(got, e.Index)
		}
		if fmt.Sprint(got) != fmt.Sprint(test.faults) {
			t.Errorf("%q: faults %v, want %v: %v", test.records, got, test.faults, err)
		} else if err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %q does not say %q", test.records, err, test.says)
		}
	}
}

// TestWildcardIsNotTransferred: a secondary would have it cover registered names.
func TestWildcardIsNotTransferred(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names   dnsserver.Names
		records string
		to      []dnsserver.Peer
		faults  int
	}{
		{newNames(), "* TXT x", loopback, 1}, {newNames(), "* TXT x", nil, 0}, {nil, "* TXT x", loopback, 0}, {newNames(), "*.w TXT x", loopback, 0},
	} {
		_, err := dnsserver.NewZone(dnsserver.ZoneConfig{
			Origin: "example.org", Addrs: []netip.Addr{addr}, Records: []string{"www A 192.0.2.1", c.records}, TransferTo: c.to,
		}, c.names)
		found := faults(t, err)
		if len(found) != c.faults || len(found) == 1 && (found[0].Field != "records" || found[0].Index != 1) {
			t.Errorf("%q with names %v to %v: %v", c.records, c.names != nil, c.to, err)
		}
	}
}

// TestAddressesOfTheServer go to its own names: what is at the origin of a zone is the operator's, if he says so, and where
// nobody registers.
func TestAddressesOfTheServer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names   dnsserver.Names
		servers []string
		records []string
		want    string
	}{
		{newNames(), nil, nil, "192.0.2.53"},
		{newNames(), []string{"ns.example.net"}, nil, "192.0.2.53"},
		{newNames(), []string{"ns.example.net"}, []string{"@ A 203.0.113.7"}, "203.0.113.7"},
		{newNames(), []string{"ns.example.net"}, []string{"@ AAAA 2001:db8::7"}, "192.0.2.53"},
		{nil, []string{"ns.example.net"}, []string{"@ A 203.0.113.7"}, "203.0.113.7"},
		{nil, []string{"ns.example.net"}, nil, ""},
		{nil, nil, nil, "192.0.2.53"}, // it is a name server
		{newNames(), nil, []string{"@ AAAA 2001:db8::7"}, "192.0.2.53"},
		{newNames(), nil, []string{"@ A 203.0.113.7"}, "203.0.113.7 192.0.2.53"},
	} {
		z, err := dnsserver.NewZone(dnsserver.ZoneConfig{
			Origin: "example.org", Addrs: []netip.Addr{addr}, NameServers: c.servers, Records: c.records,
		}, c.names)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, rr := range reply(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(z)}, new(dns.Msg).SetQuestion("example.org.", dns.TypeA)).Answer {
			got = append(got, rr.(*dns.A).A.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("name servers %q, records %q: addresses %q, want %q", c.servers, c.records, got, c.want)
		}
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := dnsserver.NewZone(dnsserver.ZoneConfig{
		Origin:      "auth.example.org",
		NameServers: []string{"ns1.auth.example.org", "ns", "bad name.example.org"},
		Admin:       "@",
		Addrs:       []netip.Addr{addr, netip.IPv4Unspecified()},
		Records:     []string{"www A x", "www A 192.0.2.1", "www CNAME b", "nope"},
		TTL:         time.Millisecond,
		NegativeTTL: -time.Second,
	}, nil)
	var got []string
	for _, e := range faults(t, err) {
		got = append(got, fmt.Sprintf("%s %d", e.Field, e.Index))
	}
	want := "[addrs 1 admin -1 name-servers 1 name-servers 2 negative-ttl -1 records 0 records 2 records 3 ttl -1]"
	if fmt.Sprint(got) != want {
		t.Errorf("faults %v, want %v:\n%v", got, want, err)
	}
}

func TestBadOrigins(t *testing.T) {
	t.Parallel()
	for _, origin := range []string{"", ".", "org", "auth..example.org", "auth.exämple.org", "a b.example.org",
		strings.Repeat("a", 64) + ".org", strings.Repeat("a.", 130) + "org"} {
		_, err := dnsserver.NewZone(dnsserver.ZoneConfig{Origin: origin, Addrs: []netip.Addr{addr}}, nil)
		if f := faults(t, err); len(f) != 1 || f[0].Field != "origin" {
			t.Errorf("origin %q: %v", origin, err)
		}
	}
	if _, err := dnsserver.NewZone(dnsserver.ZoneConfig{Origin: "Auth.example.org.", Addrs: []netip.Addr{addr}}, nil); err != nil {
		t.Error(err)
	}
}

func TestNameServerInTheZoneNeedsAnAddress(t *testing.T) {
	t.Parallel()
	for _, config := range []dnsserver.ZoneConfig{
		{Origin: "auth.example.org"},
		{Origin: "auth.example.org", NameServers: []string{"ns1.auth.example.org"}},
		{Origin: "auth.example.org", Records: []string{"@ NS ns1"}},
	} {
		if _, err := dnsserver.NewZone(config, nil); err == nil || !strings.Contains(err.Error(), "has no address") {
			t.Errorf("%+v: %v", config, err)
		}
	}
	for _, config := range []dnsserver.ZoneConfig{
		{Origin: "auth.example.org", NameServers: []string{"ns1.example.org"}},
		{Origin: "auth.example.org", Records: []string{"@ NS ns1", "ns1 AAAA 2001:db8::1"}},
	} {
		if _, err := dnsserver.NewZone(config, nil); err != nil {
			t.Errorf("%+v: %v", config, err)
		}
	}
}

func TestNamesOfTheZoneAreReserved(t *testing.T) {
	t.Parallel()
	z, err := dnsserver.NewZone(dnsserver.ZoneConfig{
		Origin: "auth.example.org", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		NameServers: []string{"NS1.auth.example.org", "ns2.example.net"},
		Records:     []string{"WWW A 192.0.2.2", "deep.below TXT x", "sub NS ns.example.net."},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]bool{
		"www": true, "below": true, "sub": true, "ns1": true, "_acme-challenge": true,
		"ns2": false, "deep": false, "other": false, "": false,
	} {
		if got := z.Reserved(label); got != want {
			t.Errorf("%q: %v, want %v", label, got, want)
		}
	}
}
