package dnsserver_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cnamed/dnsserver"
)

// BenchmarkAnswer is the cost of a query without the sockets.
func BenchmarkAnswer(b *testing.B) {
	n := newNames()
	n.set("8e5700ea-0000-4000-8000-000000000000", fmt.Sprintf("%043d", 1), fmt.Sprintf("%043d", 2))
	server := &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(b, n))}
	for _, question := range []string{
		"8e5700ea-0000-4000-8000-000000000000.auth.example.org. TXT edns=1232",
		"8e5700ea-0000-4000-8000-000000000000.auth.example.org. A edns=1232",
		"00000000-0000-4000-8000-000000000000.auth.example.org. TXT edns=1232",
		"auth.example.org. SOA",
		"www.auth.example.org. A",
		"www.example.com. A",
	} {
		b.Run(strings.ReplaceAll(question, " ", "_"), func(b *testing.B) {
			request, transport, err := ask(strings.Fields(question))
			if err != nil {
				b.Fatal(err)
			}
			buffer := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if server.Answer(buffer, request, dnsserver.Client{Transport: transport}) == nil {
					b.Fatal("no reply")
				}
			}
		})
	}
}

// BenchmarkAdmit is what the limit of replies costs a query.
func BenchmarkAdmit(b *testing.B) {
	for _, addr := range []string{"192.0.2.1", "2001:db8::1", "anywhere"} {
		b.Run(addr, func(b *testing.B) {
			now := time.Now()
			l, client := dnsserver.NewLimiter(dnsserver.MaxPerSecond, "", now), netip.MustParseAddr("192.0.2.1")
			if addr != "anywhere" {
				client = netip.MustParseAddr(addr)
			}
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Microsecond * 20)
				if addr == "anywhere" {
					n := rand.Uint32()
					client = netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
				}
				l.Admit(client, now)
			}
		})
	}
}
