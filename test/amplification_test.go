package test

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/world"
)

// TestAmplificationIsAtMostNSDs floods this server and NSD, with the defaults
// of both, and compares octets sent back with octets received: those of a mix, and
// those of whatever an attacker would choose, which differs. NSD limits each
// name by itself, so that a flood for many names is answered in full; here all
// that one address asks is one load. A flood for one name alone NSD cuts to
// half, since it drops every other reply (slip 2), where this server sends the
// like of the request: that is no amplification, and tells whoever is meant to
// use TCP.
func TestAmplificationIsAtMostNSDs(t *testing.T) {
	nsd := pathOf("nsd")
	required(t, nsd != "" && runtime.GOOS == "linux", "NSD is not installed, or this is not Linux")

	var records []string
	for i := range 100 {
		for _, value := range []string{"a", "b"} {
			records = append(records, fmt.Sprintf("n%d TXT %s", i, strings.Repeat(value, 43)))
		}
	}
	args := []string{"--dns-reply-limit-exempt", "192.0.2.1"} // not loopback, where this flood is from
	for _, r := range records {
		args = append(args, "--dns-records", r)
	}
	ours := netip.MustParseAddrPort(serve(t, t.TempDir(), args...).DNS[0])
	theirs := startNSD(t, nsd, strings.Join(records, "\n"), "")

	var ourWorst, theirWorst float64
	for k, flood := range []struct {
		name string
		ask  func(i int) (name string, qtype uint16)
	}{
		{"one name", func(int) (string, uint16) { return "n1.", dns.TypeTXT }},
		{"all names", func(i int) (string, uint16) { return fmt.Sprintf("n%d.", i%100), dns.TypeTXT }},
		{"absent names", func(i int) (string, uint16) { return fmt.Sprintf("x%d.", i), dns.TypeTXT }},
		{"the matrix", func(i int) (string, uint16) {
			types := []uint16{dns.TypeTXT, dns.TypeA, dns.TypeANY, dns.TypeCAA, dns.TypeTXT, dns.TypeSOA, dns.TypeNS}
			switch qtype := types[i%len(types)]; {
			case qtype == dns.TypeSOA || qtype == dns.TypeNS:
				return "", qtype
			case i%5 == 0:
				return fmt.Sprintf("x%d.", i), qtype
			default:
				return fmt.Sprintf("n%d.", i%100), qtype
			}
		}},
	} {
		const queries = 160 * floodWindow
		requests := make([][]byte, queries)
		for i := range requests {
			name, qtype := flood.ask(i)
			m := new(dns.Msg).SetQuestion(name+world.Zone+".", qtype)
			if i%2 == 0 {
				m.SetEdns0(1232, false)
			}
			var err error
			if requests[i], err = m.Pack(); err != nil {
				t.Fatal(err)
			}
		}
		our, their := amplification(t, ours, k, requests, false), amplification(t, theirs, k, requests, true)
		t.Logf("%s: %.2f here, %.2f NSD", flood.name, our, their)
		if flood.name == "the matrix" && our > their {
			t.Errorf("%s: amplified %.2f times, by NSD %.2f times", flood.name, our, their)
		}
		ourWorst, theirWorst = max(ourWorst, our), max(theirWorst, their)
	}
	if ourWorst > theirWorst {
		t.Errorf("what amplifies most does so %.2f times, with NSD %.2f times", ourWorst, theirWorst)
	}
}

// floodWindow is how many queries are under way at once: few enough for the
// buffers of the sockets.
const floodWindow = 64

// amplification sends requests from the network k as fast as they are dealt
// with, and returns how many times the octets of the replies are those of the
// requests.
func amplification(t *testing.T, server netip.AddrPort, k int, requests [][]byte, drops bool) float64 {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 200, byte(k), 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	buffer := make([]byte, 4096)
	sent, received := 0, 0
	for window := 0; len(requests) > 0; window++ {
		for _, r := range requests[:floodWindow] {
			if _, err := conn.WriteToUDPAddrPort(r, server); err != nil {
				t.Fatal(err)
			}
			sent += len(r)
		}
		requests = requests[floodWindow:]
		if drops {
			marker(t, server, conn, window)
		}
		for replies := 0; drops || replies < floodWindow; replies++ {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				t.Fatal(err)
			}
			if from != server {
				break // the marker
			}
			received += n
		}
	}
	return float64(received) / float64(sent)
}

// marker asks the server, which has one process and drops replies, from a
// network of its own. Once it has answered, it has dealt with all that came
// before: then something is sent to conn that stands behind the replies.
func marker(t *testing.T, server netip.AddrPort, conn *net.UDPConn, window int) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 1+byte(window>>8), byte(window), 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	m, err := new(dns.Msg).SetQuestion(world.Zone+".", dns.TypeSOA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteToUDPAddrPort(m, server); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadFromUDPAddrPort(make([]byte, 4096)); err != nil {
		t.Fatalf("NSD does not answer: %v", err)
	}
	if _, err := c.WriteToUDP(nil, conn.LocalAddr().(*net.UDPAddr)); err != nil {
		t.Fatal(err)
	}
}
