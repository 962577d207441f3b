package dnsserver_test

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// TestCompression: RFC 1035 §4.1.4, a name that was written before is a pointer to it; RFC 3597 §4, but in the data of the
// types of RFC 1035 only, since nobody could read it in others.
func TestCompression(t *testing.T) {
	t.Parallel()
	const host = "a-host-with-a-long-name"
	config := dnsserver.ZoneConfig{
		Origin: "auth.example.org",
		Addrs:  []netip.Addr{addr},
		Records: []string{
			"x MX 1 " + host + ".x", "x PTR " + host + ".x", "x SRV 1 2 3 " + host + ".x", "x AFSDB 1 " + host + ".x",
			`x NAPTR 1 2 "u" "E2U" "" ` + host + ".x", "x RP " + host + ".x " + host + ".x", "x KX 1 " + host + ".x",
			"x SVCB 1 " + host + ".x", "x HTTPS 1 " + host + ".x", "x LP 1 " + host + ".x", "x RT 1 " + host + ".x",
			"x PX 1 " + host + ".x " + host + ".x", "alias CNAME " + host + ".x.alias", "sub NS " + host + ".sub", host + ".sub A 192.0.2.7",
		},
	}
	zone, err := dnsserver.NewZone(config, newNames())
	if err != nil {
		t.Fatal(err)
	}
	server := &dnsserver.Server{Zones: dnsserver.NewZoneSet(zone)}
	for _, test := range []struct {
		name       string
		qtype      uint16
		section    int // 0 answer, 1 authority
		compressed bool
	}{
		{"x", dns.TypeMX, 0, true}, {"x", dns.TypePTR, 0, true}, {"alias", dns.TypeCNAME, 0, true}, {"sub", dns.TypeA, 1, true},
		{"missing", dns.TypeA, 1, true}, // SOA
		{"x", dns.TypeSRV, 0, false}, {"x", dns.TypeAFSDB, 0, false}, {"x", dns.TypeNAPTR, 0, false}, {"x", dns.TypeRP, 0, false},
		{"x", dns.TypeKX, 0, false}, {"x", dns.TypeSVCB, 0, false}, {"x", dns.TypeHTTPS, 0, false}, {"x", dns.TypeLP, 0, false},
		{"x", dns.TypeRT, 0, false}, {"x", dns.TypePX, 0, false},
	} {
		question := test.name + "." + zone.Origin()
		request, err := new(dns.Msg).SetQuestion(question, test.qtype).Pack()
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(server.Answer(nil, request, dnsserver.Client{})); err != nil {
			t.Fatal(err)
		}
		records := [][]dns.RR{m.Answer, m.Ns}[test.section]
		if len(records) != 1 {
			t.Fatalf("%s %s: %v", test.name, dns.Type(test.qtype), &m)
		}
		// What the record says of its size on the wire, against its size without compression.
		sent := int(records[0].Header().Rdlength)
		whole := make([]byte, 512)
		end, err := dns.PackRR(records[0], whole, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		owner := len(records[0].Header().Name) + 1
		if compressed := sent < end-owner-10; compressed != test.compressed {
			t.Errorf("%s %s: data of %d octets for %d, compressed %t, want %t", test.name, dns.Type(test.qtype), sent,
				end-owner-10, compressed, test.compressed)
		}
	}
}
