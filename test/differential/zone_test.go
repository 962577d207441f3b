package differential

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// zone is one zone as all servers have it: our configuration and registered names, and the same as a zone file.
type zone struct {
	config dnsserver.ZoneConfig
	names  names
	server *dnsserver.Server
	soa    *dns.SOA
	// records are what the zone file has but for the SOA.
	records []dns.RR
}

// names are registered names with their values.
type names map[string][]string

func (n names) AppendTXT(dst, label []byte) ([]byte, bool, error) {
	values, ok := n[string(label)]
	for _, value := range values {
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(value))), value...)
	}
	return dst, ok, nil
}

func (names) Serial() uint32 { return 2026010203 }

// placeholder is a type that the peers have at registered names without values, so that they too know that the name
// exists. No query asks for it.
const placeholder = dns.TypeNULL

// newZone makes a zone, and takes as the peers' what a static record of ours is by RFC 1035 §5.1 and a registered value
// is by the contract of dnsserver.Names.
func newZone(t *testing.T, config dnsserver.ZoneConfig, n names) *zone {
	t.Helper()
	ours, err := dnsserver.NewZone(config, n)
	if err != nil {
		t.Fatalf("zone %s: %v", config.Origin, err)
	}
	z := &zone{config: config, names: n, server: &dnsserver.Server{Zones: dnsserver.NewZoneSet(ours)}}
	z.soa = z.ask(t, z.origin(), dns.TypeSOA)[0].(*dns.SOA)
	z.records = z.ask(t, z.origin(), dns.TypeNS)
	hosts := []string{z.origin()}
	for _, rr := range z.records {
		hosts = append(hosts, rr.(*dns.NS).Ns)
	}
	for _, host := range hosts {
		z.records = append(z.records, z.ask(t, host, dns.TypeA)...)
		z.records = append(z.records, z.ask(t, host, dns.TypeAAAA)...)
	}
	for _, text := range config.Records {
		parser := dns.NewZoneParser(strings.NewReader(text+"\n"), z.origin(), "")
		parser.SetDefaultTTL(3600)
		rr, ok := parser.Next()
		if !ok {
			t.Fatalf("zone %s: %q: %v", config.Origin, text, parser.Err())
		}
		z.records = append(z.records, rr)
	}
	for _, label := range slices.Sorted(maps.Keys(n)) {
		hdr := dns.RR_Header{Name: label + "." + z.origin(), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}
		if len(n[label]) == 0 {
			hdr.Rrtype = placeholder
			z.records = append(z.records, &dns.NULL{Hdr: hdr})
		}
		for _, value := range n[label] {
			z.records = append(z.records, &dns.TXT{Hdr: hdr, Txt: pieces(value)})
		}
	}
	return z
}

// pieces splits a value by RFC 1035 §3.3. The values of these tests have nothing that must be escaped.
func pieces(value string) []string {
	var out []string
	for ; len(value) > 255; value = value[255:] {
		out = append(out, value[:255])
	}
	return append(out, value)
}

func (z *zone) origin() string { return dns.Fqdn(z.config.Origin) }

// ask asks our server for records that it makes itself.
func (z *zone) ask(t *testing.T, name string, qtype uint16) []dns.RR {
	t.Helper()
	request, err := new(dns.Msg).SetQuestion(name, qtype).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var m dns.Msg
	if err := m.Unpack(z.server.Answer(nil, request, dnsserver.Client{Transport: dnsserver.TCP})); err != nil {
		t.Fatal(err)
	}
	return m.Answer
}

// text is the zone file of the peers.
func (z *zone) text() string {
	var b strings.Builder
	fmt.Fprintln(&b, z.soa)
	seen := make(map[string]bool)
	for _, rr := range z.records {
		line := strings.Replace(rr.String(), "\tCLASS1\t", "\tIN\t", 1) // which Knot does not read
		if null, ok := rr.(*dns.NULL); ok {
			line = fmt.Sprintf("%s 1 IN TYPE10 \\# 1 00", null.Hdr.Name)
		}
		if !seen[line] {
			seen[line] = true
			fmt.Fprintln(&b, line)
		}
	}
	return b.String()
}

// has says whether the zone has a record of the type at exactly this name.
func (z *zone) has(name string, rrtype uint16) bool {
	return slices.ContainsFunc(z.records, func(rr dns.RR) bool {
		return rr.Header().Rrtype == rrtype && strings.EqualFold(rr.Header().Name, name)
	})
}
