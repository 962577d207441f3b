package dnsserver_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// sameNames says the same of every label.
type sameNames struct {
	values []byte
	exists bool
	err    error
}

func (n *sameNames) AppendTXT(dst, _ []byte) ([]byte, bool, error) {
	return append(dst, n.values...), n.exists, n.err
}

func (n *sameNames) Serial() uint32 { return 0xC00CC00C }

// wireZones are zones whose SOA compresses in different ways.
var wireZones = []dnsserver.ZoneConfig{
	{Origin: "auth.example.org"},
	{Origin: "aUTH.Example.org", NameServers: []string{"ns.aUTH.Example.org"}, Admin: "Some.One@mail.aUTH.Example.org"},
	{Origin: "auth.example.org", NameServers: []string{"ns.AUTH.example.org"}}, // spells the origin in two ways
	{Origin: "auth.example.org", NameServers: []string{"ns.example.net"}, Admin: "admin@Example.org"},
	{Origin: "example.org", NameServers: []string{"ns.x.www.example.org"}, Admin: "auth.example.org"},
	{Origin: "123.example.org", Admin: "a.b.123.example.org"},
	{Origin: "auth.example.org", Admin: "org", Records: []string{"*.x TXT wild", "alias CNAME x"}},
	{Origin: "auth.example.org", Records: []string{"* TXT wild"}},
}

func wireServers(t testing.TB) (servers []*dnsserver.Server, names *sameNames) {
	t.Helper()
	names = new(sameNames)
	for _, config := range wireZones {
		config.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
		zone, err := dnsserver.NewZone(config, names)
		if err != nil {
			t.Fatal(err)
		}
		below, err := dnsserver.NewZone(dnsserver.ZoneConfig{Origin: "b." + config.Origin, Addrs: config.Addrs}, nil)
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, &dnsserver.Server{
			Zones: dnsserver.NewZoneSet(zone, below), Keys: keyring(t), NSID: "node", Now: func() time.Time { return time.Unix(1e9, 0) },
		})
	}
	return servers, names
}

const (
	wireTCP    = 1 << 5
	wireExists = 1 << 6
	wireBroken = 1 << 7
)

// FuzzWire: the wire form and the way by miekg/dns give the same octets, whatever the request, the spelling of names in
// the zone and the values. In kind is the zone in the low bits, and wireTCP and the like; values are of 1 to 256 octets
// each, or none, by their length in one octet before them.
func FuzzWire(f *testing.F) {
	for _, file := range []string{"apex", "dynamic", "edns", "malformed", "negative", "outside", "wildcard"} {
		for i, c := range readTable(f, "testdata/"+file+".txt").queries {
			f.Add(c.request, uint8(i), []byte("\x03one\x03two"))
			f.Add(c.request, uint8(i)|wireExists, []byte("\x03one\x03two"))
		}
	}
	for kind := range wireZones {
		for _, label := range []string{"hostmaster", "some.one", "mail", "x", "admin", "auth", "b", "*", `\000`, `\192\012`} {
			for _, origin := range []string{"auth.example.org.", "Auth.eXample.org.", "auth.example.ORG.", "AuTh.example.org.", "123.Example.org."} {
				m := new(dns.Msg).SetQuestion(label+"."+origin, dns.TypeTXT).SetEdns0(1232, kind%2 == 0)
				request, err := m.Pack()
				if err != nil {
					f.Fatal(err)
				}
				f.Add(request, uint8(kind), []byte{})
				f.Add(request, uint8(kind)|wireExists, []byte{})
				f.Add(request, uint8(kind)|wireExists|wireTCP, []byte("\xFF"+strings.Repeat("v", 255)+"\x00\x01v"))
			}
		}
	}
	for _, qtype := range []uint16{0, dns.TypeA, dns.TypeOPT, dns.TypeNXNAME, dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILB, dns.TypeANY} {
		for _, size := range []uint16{0, 512, 1232} {
			m := new(dns.Msg).SetQuestion("label.auth.example.org.", qtype).SetEdns0(size, false)
			request, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(request, uint8(wireExists), []byte{})
			f.Add(request, uint8(wireExists), []byte(strings.Repeat("\x2C"+strings.Repeat("v", 43), 12)))
		}
	}
	for _, name := range []string{"label.auth.example.org.", "."} {
		m := new(dns.Msg).SetQuestion(name, dns.TypeTXT).SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{
			&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}, &dns.EDNS0_NSID{Code: dns.EDNS0NSID},
			&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE},
		}
		if name == "." {
			m.Question = nil // for the cookie alone
		}
		request, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(request, uint8(wireExists), []byte("\x03one"))
		f.Add(request, uint8(wireTCP), []byte{})
	}
	servers, names := wireServers(f)
	buffer := make([]byte, 4096)
	f.Fuzz(func(t *testing.T, request []byte, kind uint8, values []byte) {
		server := servers[int(kind&(wireTCP-1))%len(servers)]
		var from dnsserver.Client
		if kind&wireTCP != 0 {
			from.Transport = dnsserver.TCP
		}
		*names = sameNames{exists: kind&wireExists != 0}
		if kind&wireBroken != 0 {
			names.err = errors.New("broken on purpose")
		}
		for names.exists && len(values) > 0 {
			size := min(1+int(values[0]), len(values))
			value := values[1:size]
			if len(value) == 255 {
				value = append(value[:len(value):len(value)], value...) // over what a string holds
			}
			names.values = append(binary.BigEndian.AppendUint16(names.values, uint16(len(value))), value...)
			values = values[size:]
		}
		got := server.Answer(buffer, request, from)
		want := dnsserver.AnswerLong(server, request, from)
		if !bytes.Equal(got, want) {
			t.Errorf("origin %s\nrequest  %x\nanswered %x\nwant     %x", server.Zones.Zones()[0].Origin(), request, got, want)
		}
	})
}

// TestCommonQuestionsTakeTheShortWay: what is asked all day costs no allocation.
func TestCommonQuestionsTakeTheShortWay(t *testing.T) {
	n := newNames()
	n.set("8e5700ea", strings.Repeat("a", 43), strings.Repeat("b", 43))
	n.set("empty")
	server := &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, n))}
	answer, buffer := dnsserver.Answerer(server), make([]byte, 2048)
	for _, question := range []string{
		"8e5700ea.auth.example.org. TXT",
		"8e5700ea.auth.example.org. TXT edns=1232",
		"8E5700ea.aUTh.exAmple.orG. TXT edns=4096 do",
		"8e5700ea.auth.example.org. A rd edns=1232",
		"8e5700ea.auth.example.org. ANY tcp",
		"8e5700ea.auth.example.org. TYPE65280",
		"empty.auth.example.org. TXT edns=1232",
		"_acme-challenge.auth.example.org. TXT edns=1232",
		"absent.auth.example.org. TXT",
		"absent.auth.EXAMPLE.org. AAAA edns=512 cd",
	} {
		request, transport, err := ask(strings.Fields(question))
		if err != nil {
			t.Fatal(err)
		}
		from := dnsserver.Client{Transport: transport}
		if !dnsserver.Short(server, request, from) {
			t.Errorf("%s takes the long way", question)
		}
		if got := testing.AllocsPerRun(100, func() { answer(buffer, request, from) }); got != 0 {
			t.Errorf("%s: %v allocations", question, got)
		}
	}
}
