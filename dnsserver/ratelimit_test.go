package dnsserver_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// epoch is when tests with a clock of their own begin.
var epoch = time.Unix(1559731985, 0)

// admitted counts which of n replies to addrs in turn are admitted, one each interval.
func admitted(l *dnsserver.Limiter, now time.Time, interval time.Duration, n int, addrs ...string) (count int) {
	for i := range n {
		if _, ok := l.Admit(netip.MustParseAddr(addrs[i%len(addrs)]), now.Add(time.Duration(i)*interval)); ok {
			count++
		}
	}
	return count
}

func TestReplyRates(t *testing.T) {
	t.Parallel()
	addrs := func(n int, format string) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf(format, i/256, i%256))
		}
		return out
	}
	for _, test := range []struct {
		name     string
		interval time.Duration
		n        int
		addrs    []string
		want     int
	}{
		{"at once", 0, 200, []string{"192.0.2.1"}, 50},
		{"at once, IPv6", 0, 200, []string{"2001:db8::1"}, 50},
		{"evenly at the rate", time.Second / 20, 1200, []string{"192.0.2.1"}, 1200},
		{"evenly at twice the rate", time.Second / 40, 2400, []string{"192.0.2.1"}, 1250},
		{"at fifty times the rate", time.Second / 1000, 60000, []string{"192.0.2.1"}, 1250},
		{"two addresses of a /64", 0, 200, []string{"2001:db8::1", "2001:db8::2"}, 100},
		{"three addresses of a /64", 0, 200, []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"}, 100},
		{"a /56", 0, 800, []string{"2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"}, 150},
		{"a /48", 0, 1000, addrs(256, "2001:db8:%x:%02x00::1"), 200},
		{"a /32", 0, 8000, addrs(256, "2001:db8:%x%02x::1"), 3200},
		{"a /24", 0, 4000, addrs(256, "192.0.%d.%d"), 1600},
		{"a /20", 0, 30000, addrs(4096, "192.0.%d.%d"), 12800},
		{"a /18", 0, 60000, addrs(16384, "192.0.%d.%d"), 38400},
		{"two of them", 0, 100000, addrs(32768, "192.0.%d.%d"), 76800},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := admitted(dnsserver.NewLimiter(20, "", epoch), epoch, test.interval, test.n, test.addrs...)
			if got < test.want*97/100 || got > test.want*103/100 {
				t.Errorf("%d of %d replies, want %d", got, test.n, test.want)
			}
		})
	}
}

// TestValidationsMeetNoLimit: at the setting by default (see config), an order of 100 names, the most that CAs take, whose
// validations ask all at once from six places of the world, four questions for each name, from one address in each place or
// from a few of one network.
func TestValidationsMeetNoLimit(t *testing.T) {
	t.Parallel()
	const setting, names, questions = 200, 100, 4
	for _, each := range []int{1, 3} {
		var addrs []string
		for place := range 6 {
			for i := range each {
				addrs = append(addrs, fmt.Sprintf("203.%d.113.%d", place, i+1), fmt.Sprintf("2001:db8:%x::%x", place, i+1))
			}
		}
		n := 12 * names * questions
		if got := admitted(dnsserver.NewLimiter(setting, "", epoch), epoch, 0, n, addrs...); got != n {
			t.Errorf("from %d addresses in each place %d of %d questions are answered in full", each, got, n)
		}
	}
}

// TestLimitNamesTheNetwork: the smallest that has had enough.
func TestLimitNamesTheNetwork(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		addrs []string
		bits  int
	}{
		{[]string{"192.0.2.1"}, 32},
		{[]string{"2001:db8::1"}, 128},
		{[]string{"2001:db8::1", "2001:db8::2", "2001:db8::3"}, 64},
	} {
		l := dnsserver.NewLimiter(10, "", epoch)
		admitted(l, epoch, 0, 200, test.addrs...)
		if bits, ok := l.Admit(netip.MustParseAddr(test.addrs[0]), epoch); ok || bits != test.bits {
			t.Errorf("%v: limited /%d, %v; want /%d", test.addrs, bits, ok, test.bits)
		}
	}
}

func TestLimitIsForgottenInTime(t *testing.T) {
	t.Parallel()
	l := dnsserver.NewLimiter(100, "", epoch)
	admitted(l, epoch, 0, 1000, "192.0.2.1")
	for _, test := range []struct {
		after time.Duration
		want  int
	}{{time.Second, 82}, {3500 * time.Millisecond, 158}, {time.Minute, 250}, {time.Hour, 250}} {
		if got := admitted(l, epoch.Add(test.after), 0, 1000, "192.0.2.1"); got < test.want-3 || got > test.want+3 {
			t.Errorf("after %v: %d replies, want %d", test.after, got, test.want)
		}
	}
}

// TestKeyPlacesNetworks: limiters with one key have each network in the same place, and others do not.
func TestKeyPlacesNetworks(t *testing.T) {
	t.Parallel()
	place := func(key dnsserver.Secret) [2]uint64 {
		l := dnsserver.NewLimiter(1, key, epoch)
		return [2]uint64{l.Place(netip.MustParseAddr("192.0.2.1")), l.Place(netip.MustParseAddr("2001:db8::1"))}
	}
	for _, test := range []struct {
		a, b dnsserver.Secret
		same bool
	}{{"key", "key", true}, {"key", "another", false}, {"key", "", false}, {"", "", false}} {
		if same := place(test.a) == place(test.b); same != test.same {
			t.Errorf("%q and %q: the same places: %v", string(test.a), string(test.b), same)
		}
	}
}

// TestLimitSurvivesALateClock: goroutines read the clock one after the other, and come here in any order.
func TestLimitSurvivesALateClock(t *testing.T) {
	t.Parallel()
	l := dnsserver.NewLimiter(100, "", epoch)
	admitted(l, epoch.Add(20*time.Millisecond), 0, 1000, "192.0.2.1")
	if got := admitted(l, epoch.Add(10*time.Millisecond), 0, 1000, "192.0.2.1"); got > 1 {
		t.Errorf("%d more replies", got)
	}
}

// TestFloodFromEverywhere: forged addresses, a million a second, neither free who is limited nor limit who is not.
func TestFloodFromEverywhere(t *testing.T) {
	t.Parallel()
	l := dnsserver.NewLimiter(200, "", epoch)
	limited, quiet := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	admitted(l, epoch, 0, 1000, limited.String())
	random := rand.New(rand.NewPCG(1, 2))
	free, denied := 0, 0
	for i := range 60_000 {
		now := epoch.Add(time.Duration(i) * time.Microsecond)
		var octets [4]byte
		binary.BigEndian.PutUint32(octets[:], random.Uint32())
		l.Admit(netip.AddrFrom4(octets), now)
		if i%1000 == 0 { // 1,000 a second
			if _, ok := l.Admit(limited, now); ok {
				free++
			}
		}
		if i%10_000 == 0 { // 100 a second
			if _, ok := l.Admit(quiet, now); !ok {
				denied++
			}
		}
	}
	// In 60 ms it may have 12.
	if free > 13 || denied > 0 {
		t.Errorf("who is over the limit got %d replies, want at most 13; who is not was denied %d", free, denied)
	}
}

// TestLimiterIsShared: many goroutines admit no more than one would, but for what a race lets through.
func TestLimiterIsShared(t *testing.T) {
	t.Parallel()
	l := dnsserver.NewLimiter(1000, "", epoch)
	var count atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { count.Add(int64(admitted(l, epoch, 0, 5000, "192.0.2.1", "2001:db8::1"))) })
	}
	group.Wait()
	if n := count.Load(); n < 4900 || n > 5200 {
		t.Errorf("%d replies, want 2500 to each of two addresses", n)
	}
}

// flooded returns a server at whose address client has had its 5 replies of now.
func flooded(t *testing.T, client netip.Addr, s *dnsserver.Server) *dnsserver.Server {
	t.Helper()
	s.Zones, s.RateLimit.PerSecond, s.Now = dnsserver.NewZoneSet(testZone(t, newNames())), 2, func() time.Time { return epoch }
	for range 5 {
		if m := answer(t, s, client, "www.auth.example.org. A"); m.Truncated || len(m.Answer) != 1 {
			t.Fatalf("limited too early: %v", m)
		}
	}
	return s
}

func answer(t *testing.T, s *dnsserver.Server, client netip.Addr, question string) *dns.Msg {
	t.Helper()
	request, transport, err := ask(strings.Fields(question))
	if err != nil {
		t.Fatal(err)
	}
	from := dnsserver.Client{Transport: transport, Addr: netip.AddrPortFrom(client, 5353)}
	reply := s.Answer(nil, request, from)
	checkReply(t, s, request, reply, transport)
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		t.Fatal(err)
	}
	if m.Truncated && len(reply) > len(request) {
		t.Errorf("%s: a limited reply of %d octets to %d", question, len(reply), len(request))
	}
	return m
}

// TestLimitedReplyIsTruncated: slip 1, so that who is meant comes over TCP. The address may be that of IPv4 in IPv6.
func TestLimitedReplyIsTruncated(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.1")
	s := flooded(t, client, &dnsserver.Server{})
	for _, question := range []string{
		"www.auth.example.org. A", "www.auth.example.org. A edns=1232 do rd", "absent.auth.example.org. TXT", "www.example.com. A edns=1232",
		"www.auth.example.org. A option=10:2464c4abcf10c957", "www.auth.example.org. A option=10:2464c4abcf10c9570102030405060708",
		"www.auth.example.org. A option=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480 option=3",
	} {
		for _, client := range []netip.Addr{client, netip.MustParseAddr("::ffff:192.0.2.1")} {
			if m := answer(t, s, client, question); !m.Truncated || m.Rcode != dns.RcodeSuccess || len(m.Answer)+len(m.Ns) > 0 || len(m.Question) != 1 {
				t.Errorf("%s from %v: %v", question, client, m)
			}
		}
	}
	if m := answer(t, s, client, "www.auth.example.org. A tcp"); m.Truncated || len(m.Answer) != 1 {
		t.Errorf("over TCP: %v", m)
	}
	if m := answer(t, s, netip.MustParseAddr("192.0.2.2"), "www.auth.example.org. A"); m.Truncated {
		t.Errorf("a neighbour: %v", m)
	}
}

// TestLimitedReplyIsSigned where the signature of the request is right, RFC 8945 §5.3, and never where it is not.
func TestLimitedReplyIsSigned(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.1")
	s := flooded(t, client, &dnsserver.Server{Keys: keyring(t)})
	for _, c := range []struct {
		name   string
		secret string
		at     time.Time
		change func(*dns.TSIG)
		behind []byte
		signed bool
	}{
		{"right", testSecret, epoch, nil, nil, true},
		{"right, with EDNS", testSecret, epoch, nil, nil, true},
		{"another secret", "another", epoch, nil, nil, false},
		{"too late", testSecret, epoch.Add(-time.Hour), nil, nil, false},
		{"truncated", testSecret, epoch, cut(16), nil, false},
		{"too short", testSecret, epoch, cut(8), nil, false},
		{"an unknown key", testSecret, epoch, func(s *dns.TSIG) { s.Hdr.Name = "missing.example.org." }, nil, false},
		{"FORMERR: a TTL", testSecret, epoch, func(s *dns.TSIG) { s.Hdr.Ttl = 1 }, nil, false},
		{"FORMERR: more behind it", testSecret, epoch, nil, []byte{0}, false},
	} {
		m := new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA)
		if strings.HasSuffix(c.name, "EDNS") {
			m.SetEdns0(1232, true)
		}
		request, mac := sign(t, m.SetTsig(testKey, dns.HmacSHA256, 300, c.at.Unix()), c.secret, c.change)
		request = append(request, c.behind...)
		wire := s.Answer(nil, request, dnsserver.Client{Addr: netip.AddrPortFrom(client, 5353)})
		var reply dns.Msg
		if err := reply.Unpack(wire); err != nil || len(wire) > len(request) || len(reply.Answer) > 0 {
			t.Fatalf("%s: %d octets for %d, %v: %v", c.name, len(wire), len(request), err, &reply)
		}
		if format := reply.Rcode == dns.RcodeFormatError; reply.Truncated == format || format != strings.HasPrefix(c.name, "FORMERR") {
			t.Errorf("%s: %v", c.name, &reply)
		}
		sig := reply.IsTsig()
		if (sig != nil) != c.signed || c.signed && (sig.Error != 0 || sig.MAC != replyMAC(t, wire, sig, c.secret, mac)) {
			t.Errorf("%s: TSIG %v", c.name, sig)
		}
	}
}

// TestLimitedErrorStaysOne: a request that cannot be read has nothing to ask again over TCP.
func TestLimitedErrorStaysOne(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.1")
	s := flooded(t, client, &dnsserver.Server{})
	request, _ := hex.DecodeString("000100000002000000000000" + "00000100010000010001")
	reply := s.Answer(nil, request, dnsserver.Client{Addr: netip.AddrPortFrom(client, 5353)})
	if want, _ := hex.DecodeString("000180010000000000000000"); !bytes.Equal(reply, want) {
		t.Errorf("%x", reply)
	}
}

// TestValidCookieHasNoLimit, since its sender has shown that it has its address. Others have one, whatever they send.
func TestValidCookieHasNoLimit(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.1")
	learn := func(s *dnsserver.Server) string {
		m := answer(t, s, client, "www.auth.example.org. A tcp option=10:2464c4abcf10c957")
		return m.IsEdns0().Option[0].(*dns.EDNS0_COOKIE).Cookie
	}
	s := flooded(t, client, &dnsserver.Server{})
	question := "www.auth.example.org. A option=10:" + learn(s)
	if m := answer(t, s, client, question); m.Truncated || len(m.Answer) != 1 {
		t.Errorf("limited with a valid cookie: %v", m)
	}
	neighbour := netip.MustParseAddr("192.0.2.2")
	if m := answer(t, flooded(t, neighbour, &dnsserver.Server{}), neighbour, question); !m.Truncated {
		t.Errorf("not limited with the cookie of another: %v", m)
	}
	if m := answer(t, flooded(t, client, &dnsserver.Server{NoCookies: true}), client, question); !m.Truncated || len(m.IsEdns0().Option) > 0 {
		t.Errorf("cookies are off: %v", m)
	}
}

func TestExemptNetworkHasNoLimit(t *testing.T) {
	t.Parallel()
	exempt := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for _, client := range []string{"192.0.2.1", "2001:db8::1"} {
		s := flooded(t, netip.MustParseAddr(client), &dnsserver.Server{RateLimit: dnsserver.RateLimit{Exempt: exempt}})
		if m := answer(t, s, netip.MustParseAddr(client), "www.auth.example.org. A"); m.Truncated {
			t.Errorf("%s: %v", client, m)
		}
	}
}

// TestLimitIsObserved, each reply, and logged, once in a while.
func TestLimitIsObserved(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	limited, truncated := 0, 0
	client := netip.MustParseAddr("2001:db8::1")
	s := flooded(t, client, &dnsserver.Server{
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Observe: func(o dnsserver.Observation) {
			if o.Limited {
				limited++
			}
			if o.Truncated {
				truncated++
			}
		},
	})
	for range 10 {
		answer(t, s, client, "www.auth.example.org. A")
	}
	if limited != 10 || truncated != 0 {
		t.Errorf("%d limited and %d truncated, want 10 and 0", limited, truncated)
	}
	if n := strings.Count(log.String(), "network=2001:db8::1/128"); n != 1 {
		t.Errorf("logged %d times: %s", n, &log)
	}
	s.Now = func() time.Time { return epoch.Add(31 * time.Second) }
	for range 10 {
		answer(t, s, client, "www.auth.example.org. A")
	}
	if n := strings.Count(log.String(), "network=2001:db8::1/128"); n != 2 {
		t.Errorf("logged %d times: %s", n, &log)
	}
}

// TestLimitedReplyAllocatesNothing: it is what a flood gets.
func TestLimitedReplyAllocatesNothing(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.1")
	s := flooded(t, client, &dnsserver.Server{})
	request, _, _ := ask(strings.Fields("www.auth.example.org. A option=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480"))
	buffer := make([]byte, 4096)
	from := dnsserver.Client{Addr: netip.AddrPortFrom(client, 5353)}
	if n := testing.AllocsPerRun(1000, func() { s.Answer(buffer, request, from) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzLimited: a limited reply is not larger than its request, and says nothing but to use TCP, or what is wrong.
func FuzzLimited(f *testing.F) {
	for _, file := range []string{"cookie", "edns", "identity", "malformed", "outside"} {
		for _, c := range readTable(f, "testdata/"+file+".txt").queries {
			f.Add(c.request)
		}
	}
	from := dnsserver.Client{Addr: netip.MustParseAddrPort("192.0.2.1:5353")}
	server := &dnsserver.Server{
		Zones: dnsserver.NewZoneSet(testZone(f, newNames())), Keys: keyring(f), NSID: "ns1", Version: "1", Identity: "ns1",
		RateLimit: dnsserver.RateLimit{PerSecond: 1}, Now: func() time.Time { return epoch },
	}
	signed, _ := sign(f, new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA).SetTsig(testKey, dns.HmacSHA256, 300, epoch.Unix()), testSecret, nil)
	f.Add(signed)
	question := query(f, 1, "www.auth.example.org.", dns.TypeA)[2:]
	for range 10 {
		server.Answer(nil, question, from)
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		reply := server.Answer(nil, request, from)
		if reply == nil {
			return
		}
		checkReply(t, server, request, reply, dnsserver.UDP)
		if len(reply) > len(request) {
			t.Errorf("%d octets for %d", len(reply), len(request))
		}
		var m dns.Msg
		if m.Unpack(reply) != nil || m.Truncated == (m.Rcode != dns.RcodeSuccess) || len(m.Answer)+len(m.Ns) > 0 {
			t.Errorf("%v", &m)
		}
	})
}
