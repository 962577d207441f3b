package dnsserver_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

const (
	testKey    = "xfr.example.org."
	testSecret = "an octet string of some length.."
)

func keyring(t testing.TB) *dnsserver.Keyring {
	t.Helper()
	ring, err := dnsserver.NewKeyring(
		dnsserver.Key{Name: testKey, Algorithm: "hmac-sha256", Secret: testSecret},
		dnsserver.Key{Name: "other.example.org", Algorithm: "HMAC-SHA512.", Secret: "another"},
	)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

var loopback = []dnsserver.Peer{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}

// transferZone is a zone with all that can meet in one.
func transferZone(t testing.TB, names dnsserver.Names, to ...dnsserver.Peer) *dnsserver.Zone {
	t.Helper()
	z, err := dnsserver.NewZone(dnsserver.ZoneConfig{
		Origin: "auth.example.org", Addrs: []netip.Addr{addr}, TransferTo: to,
		Records: []string{
			"www A 192.0.2.80", "WWW AAAA 2001:db8::80", "alias CNAME www", "out CNAME www.example.com.",
			"sub NS ns.sub", "ns.sub A 192.0.2.81", "a.b.c TXT deep", "*.w TXT wild",
			`_acme-challenge 300 TXT "static"`, `mixed 300 TXT "static"`, `@ CAA 0 issue "ca.example"`,
		},
	}, names)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// transfer asks for a zone and returns the records as text, in order.
func transfer(t testing.TB, server netip.AddrPort, m *dns.Msg) ([]string, error) {
	t.Helper()
	tr := &dns.Transfer{DialTimeout: timeout, ReadTimeout: timeout}
	if m.IsTsig() != nil {
		tr.TsigSecret = map[string]string{testKey: base64.StdEncoding.EncodeToString([]byte(testSecret))}
	}
	ch, err := tr.In(m, server.String())
	if err != nil {
		return nil, err
	}
	var rrs []string
	for e := range ch {
		if e.Error != nil {
			err = e.Error
		}
		for _, rr := range e.RR {
			rrs = append(rrs, strings.ReplaceAll(rr.String(), "\t", " "))
		}
	}
	return rrs, err
}

func axfr(origin string) *dns.Msg { return new(dns.Msg).SetAxfr(origin) }

func ixfr(origin string, serial uint32) *dns.Msg {
	return new(dns.Msg).SetIxfr(origin, serial, ".", ".")
}

// soa is the SOA of transferZone.
func soa(serial uint32) string {
	return fmt.Sprintf("auth.example.org. 3600 IN SOA auth.example.org. hostmaster.auth.example.org. %d 14400 3600 1209600 1", serial)
}

func TestTransferHasTheWholeZone(t *testing.T) {
	t.Parallel()
	h := newHistory()
	h.set("8e5700ea", "new", "old")
	h.set("empty")
	h.set("mixed", "dynamic")
	h.set("alias", "hidden by the CNAME")
	h.set("sub", "hidden by the delegation")
	h.set("dot.in label", `back\slash "quoted"`)
	h.set("long", strings.Repeat("x", 300))
	at := h.Serial()
	h.during = func() { h.set("8e5700ea", "too late"); h.set("late", "too late") }
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(transferZone(t, h, loopback...))})
	got, err := transfer(t, server, axfr("auth.example.org."))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < 2 || got[0] != soa(at) || got[len(got)-1] != soa(at) {
		t.Fatalf("the SOA of %d is not first and last: %q", at, got)
	}
	slices.Sort(got[1 : len(got)-1])
	want := []string{
		`_acme-challenge.auth.example.org. 300 IN TXT "static"`,
		`8e5700ea.auth.example.org. 1 IN TXT "new"`,
		`8e5700ea.auth.example.org. 1 IN TXT "old"`,
		`WWW.auth.example.org. 3600 IN AAAA 2001:db8::80`,
		`*.w.auth.example.org. 3600 IN TXT "wild"`,
		`a.b.c.auth.example.org. 3600 IN TXT "deep"`,
		`alias.auth.example.org. 3600 IN CNAME www.auth.example.org.`,
		`auth.example.org. 3600 IN A 192.0.2.53`,
		`auth.example.org. 3600 IN CAA 0 issue "ca.example"`,
		`auth.example.org. 3600 IN NS auth.example.org.`,
		`dot\.in\ label.auth.example.org. 1 IN TXT "back\\slash \"quoted\""`,
		`long.auth.example.org. 1 IN TXT "` + strings.Repeat("x", 255) + `" "` + strings.Repeat("x", 45) + `"`,
		`mixed.auth.example.org. 1 IN TXT "dynamic"`,
		`mixed.auth.example.org. 1 IN TXT "static"`,
		`ns.sub.auth.example.org. 3600 IN A 192.0.2.81`,
		`out.auth.example.org. 3600 IN CNAME www.example.com.`,
		`sub.auth.example.org. 3600 IN NS ns.sub.auth.example.org.`,
		`www.auth.example.org. 3600 IN A 192.0.2.80`,
	}
	slices.Sort(want)
	if !slices.Equal(got[1:len(got)-1], want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got[1:len(got)-1], "\n"), strings.Join(want, "\n"))
	}
}

func TestIXFRHasTheDifferences(t *testing.T) {
	t.Parallel()
	h := newHistory()
	h.set("stays", "same")
	h.set("one", "a", "b")
	h.set("gone", "g")
	from := h.Serial()
	h.set("one", "c", "a")
	h.set("gone")
	h.set("between", "there and gone again")
	h.set("between")
	h.set("mixed", "dynamic")
	h.set("alias", "hidden")
	h.set("new", "n")
	now := h.Serial()
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(transferZone(t, h, loopback...))})
	const zone = ".auth.example.org. "
	for _, c := range []struct {
		name  string
		since uint32
		want  []string
	}{
		{"differences", from, []string{soa(now), soa(from),
			"gone" + zone + `1 IN TXT "g"`, "mixed" + zone + `300 IN TXT "static"`, "one" + zone + `1 IN TXT "b"`,
			soa(now),
			"mixed" + zone + `1 IN TXT "dynamic"`, "mixed" + zone + `1 IN TXT "static"`, "new" + zone + `1 IN TXT "n"`,
			"one" + zone + `1 IN TXT "c"`,
			soa(now)}},
		{"nothing new", now, []string{soa(now)}},
		{"a serial of the future", now + 5, []string{soa(now)}},
	} {
		got, err := transfer(t, server, ixfr("auth.example.org.", c.since))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		sortParts(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}

	whole, err := transfer(t, server, axfr("auth.example.org."))
	if err != nil {
		t.Fatal(err)
	}
	for _, forget := range []bool{false, true} {
		h.mu.Lock()
		h.forget = forget
		h.mu.Unlock()
		since := uint32(1) // never was
		if forget {
			since = from
		}
		got, err := transfer(t, server, ixfr("auth.example.org.", since))
		slices.Sort(got)
		slices.Sort(whole)
		if err != nil || !slices.Equal(got, whole) {
			t.Errorf("an unknown serial: %v\n%s\nwant all\n%s", err, strings.Join(got, "\n"), strings.Join(whole, "\n"))
		}
	}

	// RFC 1995 §2: over UDP the current SOA.
	reply := exchangeMsg(t, "udp", server, ixfr("auth.example.org.", from))
	if len(reply.Answer) != 1 || strings.ReplaceAll(reply.Answer[0].String(), "\t", " ") != soa(now) {
		t.Errorf("over UDP: %v", reply)
	}
}

// sortParts sorts the records between the SOAs.
func sortParts(rrs []string) {
	begin := 0
	for i, rr := range append(slices.Clone(rrs), " SOA ") {
		if strings.Contains(rr, " SOA ") {
			slices.Sort(rrs[begin:i])
			begin = i + 1
		}
	}
}

func exchangeMsg(t testing.TB, network string, server netip.AddrPort, m *dns.Msg) *dns.Msg {
	t.Helper()
	reply, _, err := (&dns.Client{Net: network, Timeout: timeout}).Exchange(m, server.String())
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// signed adds a TSIG to a request.
func signed(m *dns.Msg, key, algorithm string, at time.Time) *dns.Msg {
	return m.SetTsig(key, algorithm, 300, at.Unix())
}

func TestTransferSigned(t *testing.T) {
	t.Parallel()
	h := newHistory()
	for i := range 3000 { // some messages
		h.names.set(fmt.Sprintf("%036d", i), fmt.Sprintf("%043d", i), fmt.Sprintf("%043d", i+1))
	}
	since := h.Serial()
	h.keep()
	for i := range 100 {
		h.names.set(fmt.Sprintf("%036d", i), "new")
	}
	h.keep()
	server := start(t, &dnsserver.Server{
		Keys: keyring(t), Zones: dnsserver.NewZoneSet(transferZone(t, h, dnsserver.Peer{Key: testKey})),
	})
	// miekg/dns checks the MAC of each message, and that it is one of a sequence.
	got, err := transfer(t, server, signed(axfr("auth.example.org."), testKey, dns.HmacSHA256, time.Now()))
	if err != nil || len(got) < 5900 {
		t.Errorf("%d records, %v", len(got), err)
	}
	got, err = transfer(t, server, signed(ixfr("auth.example.org.", since), testKey, dns.HmacSHA256, time.Now()))
	if err != nil || len(got) != 304 {
		t.Errorf("%d records, %v", len(got), err)
	}
}

func TestTransferRefused(t *testing.T) {
	t.Parallel()
	h := newHistory()
	h.set("one", "secret")
	set := dnsserver.NewZoneSet(
		makeZone(t, "nobody.test", h),
		transferZone(t, h, dnsserver.Peer{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Key: testKey},
			dnsserver.Peer{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, dnsserver.Peer{Key: "missing.example.org"}, dnsserver.Peer{}),
	)
	server := start(t, &dnsserver.Server{Keys: keyring(t), Zones: set})
	const zone = "auth.example.org."
	now := time.Now()
	for _, c := range []struct {
		name    string
		network string
		m       *dns.Msg
		rcode   int
		tsig    int // the error in the reply's TSIG; -1: it has none
	}{
		{"default", "tcp", axfr("nobody.test."), dns.RcodeRefused, -1},
		{"default IXFR", "tcp", ixfr("nobody.test.", 1), dns.RcodeRefused, -1},
		{"default IXFR over UDP", "udp", ixfr("nobody.test.", 1), dns.RcodeRefused, -1},
		{"default, signed", "tcp", signed(axfr("nobody.test."), testKey, dns.HmacSHA256, now), dns.RcodeRefused, 0},
		{"not signed", "tcp", axfr(zone), dns.RcodeRefused, -1},
		{"signed by another", "tcp", signed(axfr(zone), "other.example.org.", dns.HmacSHA512, now), dns.RcodeRefused, 0},
		{"unknown key", "tcp", signed(axfr(zone), "missing.example.org.", dns.HmacSHA256, now), dns.RcodeNotAuth, dns.RcodeBadKey},
		{"another algorithm", "tcp", signed(axfr(zone), testKey, dns.HmacSHA512, now), dns.RcodeNotAuth, dns.RcodeBadKey},
		{"wrong secret", "tcp", signed(axfr(zone), "XFR.example.org.", dns.HmacSHA256, now), dns.RcodeNotAuth, dns.RcodeBadSig},
		{"too late", "tcp", signed(axfr(zone), testKey, dns.HmacSHA256, now.Add(-time.Hour)), dns.RcodeNotAuth, dns.RcodeBadTime},
		{"too early", "udp", signed(ixfr(zone, 1), testKey, dns.HmacSHA256, now.Add(time.Hour)), dns.RcodeNotAuth, dns.RcodeBadTime},
		{"AXFR over UDP", "udp", signed(axfr(zone), testKey, dns.HmacSHA256, now), dns.RcodeRefused, 0},
		{"below the origin", "tcp", signed(axfr("one."+zone), testKey, dns.HmacSHA256, now), dns.RcodeNotAuth, 0},
		{"IXFR without SOA", "tcp", signed(new(dns.Msg).SetQuestion(zone, dns.TypeIXFR), testKey, dns.HmacSHA256, now), dns.RcodeFormatError, 0},
		{"another zone", "tcp", signed(axfr("example.com."), testKey, dns.HmacSHA256, now), dns.RcodeRefused, 0},
		{"a query, signed", "udp", signed(new(dns.Msg).SetQuestion(zone, dns.TypeSOA), testKey, dns.HmacSHA256, now), dns.RcodeSuccess, 0},
	} {
		secret := base64.StdEncoding.EncodeToString([]byte(testSecret))
		conn, err := net.Dial(c.network, server.String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(timeout))
		co := &dns.Conn{Conn: conn, TsigSecret: map[string]string{
			testKey: secret, "missing.example.org.": secret, "XFR.example.org.": base64.StdEncoding.EncodeToString([]byte("wrong")),
			"other.example.org.": base64.StdEncoding.EncodeToString([]byte("another")),
		}}
		if err := co.WriteMsg(c.m); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		reply, err := co.ReadMsg()
		conn.Close()
		// An error of the server comes as one of the signature, as it is defined.
		if err != nil && c.rcode != dns.RcodeNotAuth || reply == nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := -1
		if sig := reply.IsTsig(); sig != nil {
			got = int(sig.Error)
			if c.tsig == dns.RcodeBadTime && (len(sig.OtherData) != 12 || sig.MACSize != 32) {
				t.Errorf("%s: BADTIME without the time, or not signed: %v", c.name, sig)
			}
			if (c.tsig == dns.RcodeBadKey || c.tsig == dns.RcodeBadSig) && sig.MACSize != 0 {
				t.Errorf("%s: signed: %v", c.name, sig)
			}
		}
		if reply.Rcode != c.rcode || got != c.tsig {
			t.Errorf("%s: %s, TSIG %d; want %s, %d", c.name, dns.RcodeToString[reply.Rcode], got, dns.RcodeToString[c.rcode], c.tsig)
		}
		if c.rcode != dns.RcodeSuccess && len(reply.Answer) > 0 {
			t.Errorf("%s: %v", c.name, reply.Answer)
		}
	}
}

// TestTransferThatCannotBeRead: also "nothing new" would be a guess.
func TestTransferThatCannotBeRead(t *testing.T) {
	t.Parallel()
	h := newHistory()
	h.set("one", "value")
	h.broken = true
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(transferZone(t, h, loopback...))})
	const zone = "auth.example.org."
	for name, m := range map[string]*dns.Msg{
		"AXFR": axfr(zone), "IXFR": ixfr(zone, h.Serial()-1), "IXFR of who has it all": ixfr(zone, h.Serial()),
	} {
		for _, network := range []string{"udp", "tcp"} {
			if network == "udp" && name == "AXFR" {
				continue
			}
			reply, _, err := (&dns.Client{Net: network, Timeout: timeout}).Exchange(m, server.String())
			if err != nil || reply.Rcode != dns.RcodeServerFailure || len(reply.Answer) > 0 {
				t.Errorf("%s over %s: %v, %v; want SERVFAIL", name, network, reply, err)
			}
		}
	}
}

// TestTransferToAnAddress: that of IPv4 in IPv6 is that of IPv4, and a zone (RFC 4007 §11) is the business of this machine.
func TestTransferToAnAddress(t *testing.T) {
	t.Parallel()
	h := newHistory()
	server := &dnsserver.Server{Zones: dnsserver.NewZoneSet(transferZone(t, h,
		dnsserver.Peer{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, dnsserver.Peer{Prefix: netip.MustParsePrefix("fe80::/64")}))}
	request, err := ixfr("auth.example.org.", 1).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client string
		rcode  int
	}{
		{"192.0.2.1", dns.RcodeSuccess},
		{"::ffff:192.0.2.1", dns.RcodeSuccess},
		{"fe80::1", dns.RcodeSuccess},
		{"fe80::1%eth0", dns.RcodeSuccess},
		{"192.0.3.1", dns.RcodeRefused},
		{"::ffff:192.0.3.1", dns.RcodeRefused},
		{"::192.0.2.1", dns.RcodeRefused},
		{"fe80:0:0:1::1%eth0", dns.RcodeRefused},
	} {
		from := dnsserver.Client{Addr: netip.AddrPortFrom(netip.MustParseAddr(c.client), 5353)}
		var m dns.Msg
		if err := m.Unpack(server.Answer(nil, request, from)); err != nil || m.Rcode != c.rcode || len(m.Answer) > 0 != (c.rcode == 0) {
			t.Errorf("%s: %v, %v", c.client, err, &m)
		}
	}
}
