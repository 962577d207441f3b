package dnsserver_test

import (
	"encoding/base64"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// FuzzAnswer: whatever comes in, Answer does not panic (SERVFAIL would show it here, for Names never fails), and
// returns nothing or a reply that is true to checkReply: it parses, has the ID and QR, fits, and has no AA outside of
// the zone. The same octets get the same reply, and the request is left alone.
func FuzzAnswer(f *testing.F) {
	for _, file := range []string{"apex", "cname", "cookie", "delegation", "dynamic", "edns", "identity", "malformed",
		"negative", "outside", "wildcard"} {
		for _, c := range readTable(f, "testdata/"+file+".txt").queries {
			f.Add(c.request, c.transport == dnsserver.TCP)
		}
	}
	names := newNames()
	names.set("8e5700ea", "one", "two")
	names.set("empty")
	names.set("full", expand([]string{"many", "40"})...)
	zone, err := dnsserver.NewZone(dnsserver.ZoneConfig{
		Origin: "auth.example.org",
		Addrs:  []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		Records: []string{
			"www A 192.0.2.80", "alias CNAME www", "loop CNAME loop", "out CNAME www.example.com.",
			"sub NS ns.sub", "ns.sub A 192.0.2.81", "a.b.c TXT deep", "*.w TXT wild", "*.v CNAME x.v",
		},
	}, names)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1559731985, 0)
	server := &dnsserver.Server{
		Zones: dnsserver.NewZoneSet(zone), Keys: keyring(f), NSID: "ns1", Version: "1", Identity: "ns1",
		Now: func() time.Time { return now },
	}
	for _, at := range []time.Time{now, now.Add(time.Hour)} {
		m := signed(new(dns.Msg).SetQuestion("8e5700ea.auth.example.org.", dns.TypeTXT).SetEdns0(1232, true), testKey, dns.HmacSHA256, at)
		request, _, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString([]byte(testSecret)), "", false)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(request, false)
		request[len(request)-10]++
		f.Add(request, true)
	}
	buffer := make([]byte, 4096)
	f.Fuzz(func(t *testing.T, request []byte, tcp bool) {
		from := dnsserver.Client{Transport: dnsserver.UDP}
		if tcp {
			from.Transport = dnsserver.TCP
		}
		before := string(request)
		reply := server.Answer(nil, request, from)
		if string(request) != before {
			t.Fatal("the request was changed")
		}
		if again := server.Answer(buffer[:0], request, from); string(again) != string(reply) {
			t.Fatalf("two replies to one request:\n%x\n%x", reply, again)
		}
		if reply == nil {
			if len(request) >= 12 && request[2]&0x80 == 0 {
				t.Fatal("a query was dropped")
			}
			return
		}
		checkReply(t, server, request, reply, from.Transport)
		if reply[3]&0xF == 2 {
			t.Fatal("SERVFAIL")
		}
	})
}
