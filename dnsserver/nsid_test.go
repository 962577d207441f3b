package dnsserver_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// TestNSIDGivesWay to records that fit without it, and never takes a reply over the limit.
func TestNSIDGivesWay(t *testing.T) {
	t.Parallel()
	const nsid = 255
	names := newNames()
	label := strings.Repeat("n", 63)
	below := label + "." + label + "." + label
	long := strings.Repeat("n", 44) + "." + below + ".auth.example.org." // all that a name can have
	zone, err := dnsserver.NewZone(dnsserver.ZoneConfig{
		Origin: "auth.example.org", Addrs: []netip.Addr{addr},
		Records: []string{"*." + below + ` TXT "` + strings.Repeat("t", 250) + `"`, below + " A 192.0.2.80"},
	}, names)
	if err != nil {
		t.Fatal(err)
	}
	server := &dnsserver.Server{Zones: dnsserver.NewZoneSet(zone), NSID: strings.Repeat("x", nsid)}
	ask := func(name string, size uint16, transport dnsserver.Transport) (m *dns.Msg, octets int, identified bool) {
		t.Helper()
		request := new(dns.Msg).SetQuestion(name, dns.TypeTXT).SetEdns0(size, false)
		request.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
		wire, err := request.Pack()
		if err != nil {
			t.Fatal(err)
		}
		reply := server.Answer(nil, wire, dnsserver.Client{Transport: transport})
		m = new(dns.Msg)
		if err := m.Unpack(reply); err != nil {
			t.Fatal(err)
		}
		return m, len(reply), len(m.IsEdns0().Option) == 1
	}
	ways := make(map[string]int)
	for size := 1; size <= 255; size++ {
		names.set("full", strings.Repeat("a", size), strings.Repeat("b", size))
		_, whole, identified := ask("full.auth.example.org.", 512, dnsserver.TCP)
		if !identified {
			t.Fatal("over TCP there is room")
		}
		m, octets, identified := ask("full.auth.example.org.", 512, dnsserver.UDP)
		way := "truncated"
		switch {
		case whole <= 512:
			way = "whole"
		case whole-4-nsid <= 512:
			way = "without"
		}
		ways[way]++
		// TC has room for it.
		if octets > 512 || m.Truncated != (way == "truncated") || identified != (way != "without") {
			t.Errorf("%d octets, %s: %d octets, TC %v, NSID %v", whole, way, octets, m.Truncated, identified)
		}
	}
	if len(ways) != 3 {
		t.Errorf("seen only %v", ways)
	}
	// Not even for TC is there room here.
	if m, octets, identified := ask(long, 512, dnsserver.UDP); octets > 512 || !m.Truncated || identified {
		t.Errorf("a long name: %d octets, NSID %v: %v", octets, identified, m)
	}
	if m, _, identified := ask(long, 1232, dnsserver.UDP); m.Truncated || len(m.Answer) != 1 || !identified {
		t.Errorf("there was room: %v", m)
	}
}
