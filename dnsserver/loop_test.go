package dnsserver_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// TestForgedSourceMakesNoLoop: whatever server the forged source of a request is, our reply and what that server makes of
// it do not go on. Each has one exchange for good measure.
func TestForgedSourceMakesNoLoop(t *testing.T) {
	t.Parallel()
	server := &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames()))}
	other := &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, nil))}
	text := func(line string) func([]byte, dnsserver.Client) []byte {
		return func([]byte, dnsserver.Client) []byte { return []byte(line) }
	}
	chargen := new(bytes.Buffer)
	for i := range 7 { // RFC 864 §2: 0 to 512 characters
		for j := range 72 {
			chargen.WriteByte(byte(' ' + (i+j)%95))
		}
	}
	peers := []struct {
		name  string
		port  uint16
		reply func(datagram []byte, from dnsserver.Client) []byte
	}{
		{"ourselves", 53, func(b []byte, from dnsserver.Client) []byte { return server.Answer(nil, b, from) }},
		{"ourselves at another port", 5353, func(b []byte, from dnsserver.Client) []byte { return server.Answer(nil, b, from) }},
		{"another authoritative server", 53, func(b []byte, from dnsserver.Client) []byte { return other.Answer(nil, b, from) }},
		{"a DNS server that answers responses", 53, func(b []byte, _ dnsserver.Client) []byte {
			return []byte{b[0], b[1], 0x80, dns.RcodeFormatError, 0, 0, 0, 0, 0, 0, 0, 0}
		}},
		{"echo", 7, func(b []byte, _ dnsserver.Client) []byte { return b }},
		{"echo at another port", 40007, func(b []byte, _ dnsserver.Client) []byte { return b }},
		{"daytime", 13, text("Tuesday, February 22, 1982 17:37:43-PST\r\n")},
		{"quote of the day", 17, text("Well, isn't this the loop that we were warned of?\r\n")},
		{"chargen", 19, text(chargen.String()[:512-8])},
		{"chargen, a short line", 19, text(chargen.String()[:13])},
		{"time", 37, text("\xe0\x00\x00\x00")},
		{"TFTP", 69, text("\x00\x05\x00\x04Illegal TFTP operation\x00")},
		{"NTP", 123, text(string(append([]byte{0x1C}, make([]byte, 47)...)))},
	}
	var requests [][]byte
	for _, file := range []string{"apex", "cname", "delegation", "dynamic", "edns", "malformed", "negative", "outside"} {
		for _, c := range readTable(t, "testdata/"+file+".txt").queries {
			requests = append(requests, c.request)
		}
	}
	for opcode := range uint16(16) {
		for _, more := range [][]byte{nil, {0}, make([]byte, 100)} {
			header := binary.BigEndian.AppendUint16([]byte{0, 1}, opcode<<11)
			requests = append(requests, append(append(header, make([]byte, 8)...), more...))
		}
	}
	for _, peer := range peers {
		us := dnsserver.Client{Addr: netip.MustParseAddrPort("192.0.2.53:53")}
		source := dnsserver.Client{Addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), peer.port)}
		for _, request := range requests {
			datagram := request
			for round := 0; datagram != nil; round++ {
				if round > 1 {
					t.Fatalf("%s: the reply to %x goes on and on, now with %x", peer.name, request, datagram)
				}
				if datagram = server.Answer(nil, datagram, source); datagram != nil {
					datagram = peer.reply(datagram, us)
				}
			}
		}
	}
}

// TestServicePortsOfClients: a query is answered whatever port it comes from, and an error is sent to all but those ports.
func TestServicePortsOfClients(t *testing.T) {
	t.Parallel()
	server := &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames()))}
	query, err := new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	notify := bytes.Clone(query)
	notify[2] |= dns.OpcodeNotify << 3
	for _, test := range []struct {
		transport dnsserver.Transport
		port      uint16
		errors    bool
	}{{dnsserver.UDP, 19, false}, {dnsserver.UDP, 1023, false}, {dnsserver.UDP, 1024, true}, {dnsserver.UDP, 53, true}, {dnsserver.TCP, 19, true}} {
		from := dnsserver.Client{Transport: test.transport, Addr: netip.AddrPortFrom(addr, test.port)}
		if server.Answer(nil, query, from) == nil {
			t.Errorf("a query from port %d over %s gets no reply", test.port, test.transport)
		}
		for _, bad := range [][]byte{notify, query[:len(query)-1]} {
			if got := server.Answer(nil, bad, from) != nil; got != test.errors {
				t.Errorf("%x from port %d over %s: a reply %t, want %t", bad, test.port, test.transport, got, test.errors)
			}
		}
	}
}
