package dnsserver_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// sign packs a request with a TSIG that is right, and then changed. It returns the MAC that it has in the end.
func sign(t testing.TB, m *dns.Msg, secret string, change func(*dns.TSIG)) (request []byte, mac string) {
	t.Helper()
	wire, _, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString([]byte(secret)), "", false)
	if err != nil {
		t.Fatal(err)
	}
	var made dns.Msg
	if err := made.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	sig := made.IsTsig()
	if change != nil {
		change(sig)
	}
	sig.MACSize = uint16(len(sig.MAC) / 2)
	if wire, err = made.Pack(); err != nil {
		t.Fatal(err)
	}
	return wire, sig.MAC
}

// flip changes one octet of a MAC.
func flip(i int) func(*dns.TSIG) {
	return func(s *dns.TSIG) {
		mac, _ := hex.DecodeString(s.MAC)
		mac[i] ^= 0x01
		s.MAC = hex.EncodeToString(mac)
	}
}

// cut leaves some octets of a MAC.
func cut(size int) func(*dns.TSIG) {
	return func(s *dns.TSIG) { s.MAC = s.MAC[:2*size] }
}

// replyMAC is the MAC that a reply should have, RFC 8945 §4.3. miekg/dns looks at none that comes with NOTAUTH.
func replyMAC(t testing.TB, reply []byte, sig *dns.TSIG, secret, requestMAC string) string {
	t.Helper()
	newHash := map[string]func() hash.Hash{dns.HmacSHA256: sha256.New, dns.HmacSHA512: sha512.New}[sig.Algorithm]
	h := hmac.New(newHash, []byte(secret))
	prior, err := hex.DecodeString(requestMAC)
	if err != nil {
		t.Fatal(err)
	}
	h.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(prior))), prior...))
	msg := append([]byte(nil), reply[:len(reply)-dns.Len(sig)]...)
	msg[11]--
	h.Write(msg)
	// The variables are the record without its type, the sizes, the MAC and the ID.
	owner, algorithm := packName(t, sig.Hdr.Name), packName(t, sig.Algorithm)
	h.Write(append(owner, 0, 255, 0, 0, 0, 0))
	b := binary.BigEndian.AppendUint64(nil, sig.TimeSigned)[2:]
	b = binary.BigEndian.AppendUint16(append(algorithm, b...), sig.Fudge)
	b = binary.BigEndian.AppendUint16(b, sig.Error)
	other, _ := hex.DecodeString(sig.OtherData)
	h.Write(append(binary.BigEndian.AppendUint16(b, uint16(len(other))), other...))
	return hex.EncodeToString(h.Sum(nil))
}

func packName(t testing.TB, name string) []byte {
	t.Helper()
	wire := make([]byte, 255)
	end, err := dns.PackDomainName(name, wire, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return wire[:end]
}

// TestTSIGIsChecked: RFC 8945 §5.2, the MAC before the time, and both before the truncation. What the reply says of the MAC
// itself is not signed (§5.3.2); all else is, with the MAC of the request as it came.
func TestTSIGIsChecked(t *testing.T) {
	t.Parallel()
	both := func(changes ...func(*dns.TSIG)) func(*dns.TSIG) {
		return func(s *dns.TSIG) {
			for _, change := range changes {
				change(s)
			}
		}
	}
	const none = -1 // no TSIG in the reply
	sha512 := &dns.TSIG{Hdr: dns.RR_Header{Name: "other.example.org."}, Algorithm: dns.HmacSHA512}
	for _, c := range []struct {
		name   string
		key    *dns.TSIG // nil: testKey
		ago    int       // seconds since it was signed
		fudge  uint16
		change func(*dns.TSIG)
		rcode  int
		tsig   int
		signed bool
	}{
		{"as it should be", nil, 0, 300, nil, dns.RcodeSuccess, 0, true},
		{"the first octet", nil, 0, 300, flip(0), dns.RcodeNotAuth, dns.RcodeBadSig, false},
		{"the ninth octet", nil, 0, 300, flip(8), dns.RcodeNotAuth, dns.RcodeBadSig, false},
		{"the last octet", nil, 0, 300, flip(31), dns.RcodeNotAuth, dns.RcodeBadSig, false},
		{"wrong and late", nil, 3600, 300, flip(31), dns.RcodeNotAuth, dns.RcodeBadSig, false},

		{"as late as can be", nil, 300, 300, nil, dns.RcodeSuccess, 0, true},
		{"too late", nil, 301, 300, nil, dns.RcodeNotAuth, dns.RcodeBadTime, true},
		{"as early as can be", nil, -300, 300, nil, dns.RcodeSuccess, 0, true},
		{"too early", nil, -301, 300, nil, dns.RcodeNotAuth, dns.RcodeBadTime, true},
		{"too late for a small fudge", nil, 11, 10, nil, dns.RcodeNotAuth, dns.RcodeBadTime, true},
		{"not for a large one", nil, 900, 1000, nil, dns.RcodeSuccess, 0, true},

		{"truncated", nil, 0, 300, cut(16), dns.RcodeNotAuth, dns.RcodeBadTrunc, true},
		{"truncated by one", nil, 0, 300, cut(31), dns.RcodeNotAuth, dns.RcodeBadTrunc, true},
		{"truncated and wrong", nil, 0, 300, both(flip(15), cut(16)), dns.RcodeNotAuth, dns.RcodeBadSig, false},
		{"truncated and late", nil, 3600, 300, cut(16), dns.RcodeNotAuth, dns.RcodeBadTime, true},
		{"truncated, wrong and late", nil, 3600, 300, both(flip(0), cut(16)), dns.RcodeNotAuth, dns.RcodeBadSig, false},
		{"under half", nil, 0, 300, cut(15), dns.RcodeFormatError, none, false},
		{"SHA-512", sha512, 0, 300, nil, dns.RcodeSuccess, 0, true},
		{"half of SHA-512", sha512, 0, 300, cut(32), dns.RcodeNotAuth, dns.RcodeBadTrunc, true},
		{"under half of SHA-512", sha512, 0, 300, cut(31), dns.RcodeFormatError, none, false},
		{"too long", nil, 0, 300, func(s *dns.TSIG) { s.MAC += "00" }, dns.RcodeFormatError, none, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			server := &dnsserver.Server{
				Keys: keyring(t), Zones: dnsserver.NewZoneSet(testZone(t, newNames())), Now: func() time.Time { return now },
			}
			key, algorithm, secret := testKey, dns.HmacSHA256, testSecret
			if c.key != nil {
				key, algorithm, secret = c.key.Hdr.Name, c.key.Algorithm, "another"
			}
			m := new(dns.Msg).SetQuestion("auth.example.org.", dns.TypeSOA)
			request, mac := sign(t, m.SetTsig(key, algorithm, c.fudge, now.Unix()-int64(c.ago)), secret, c.change)
			wire := server.Answer(nil, request, dnsserver.Client{})
			var reply dns.Msg
			if err := reply.Unpack(wire); err != nil {
				t.Fatal(err)
			}
			sig, got := reply.IsTsig(), none
			if sig != nil {
				got = int(sig.Error)
			}
			if reply.Rcode != c.rcode || got != c.tsig || sig != nil && (sig.MACSize > 0) != c.signed {
				t.Fatalf("got %v\nwant %s, TSIG %d, signed %v", &reply, dns.RcodeToString[c.rcode], c.tsig, c.signed)
			}
			if (len(reply.Answer) > 0) != (c.rcode == dns.RcodeSuccess) {
				t.Errorf("answer %v", reply.Answer)
			}
			if c.signed && sig.MAC != replyMAC(t, wire, sig, secret, mac) {
				t.Errorf("the reply has another MAC: %v", sig)
			}
		})
	}
}

// TestForwardedTSIGHasItsOwnID: RFC 8945 §4.2, who passes a signed message on may change its ID.
func TestForwardedTSIGHasItsOwnID(t *testing.T) {
	t.Parallel()
	server := &dnsserver.Server{Keys: keyring(t), Zones: dnsserver.NewZoneSet(testZone(t, newNames()))}
	m := new(dns.Msg).SetQuestion("auth.example.org.", dns.TypeSOA)
	request, mac := sign(t, m.SetTsig(testKey, dns.HmacSHA256, 300, time.Now().Unix()), testSecret, nil)
	forwarded := binary.BigEndian.Uint16(request) + 1
	binary.BigEndian.PutUint16(request, forwarded)
	wire := server.Answer(nil, request, dnsserver.Client{})
	var reply dns.Msg
	if err := reply.Unpack(wire); err != nil || reply.Rcode != dns.RcodeSuccess || reply.Id != forwarded {
		t.Fatalf("%v, %v", err, &reply)
	}
	if err := dns.TsigVerify(wire, base64.StdEncoding.EncodeToString([]byte(testSecret)), mac, false); err != nil {
		t.Error(err)
	}
}

// TestTSIGCountsForTheSize of a reply over UDP: it is truncated where its records fit, but not with a signature.
func TestTSIGCountsForTheSize(t *testing.T) {
	t.Parallel()
	names := newNames()
	server := &dnsserver.Server{Keys: keyring(t), Zones: dnsserver.NewZoneSet(testZone(t, names))}
	whole, truncated := 0, 0
	for size := 1; size <= 255; size++ {
		names.set("full", strings.Repeat("a", 150), strings.Repeat("b", size))
		m := new(dns.Msg).SetQuestion("full.auth.example.org.", dns.TypeTXT)
		plain, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		unsigned := len(server.Answer(nil, plain, dnsserver.Client{Transport: dnsserver.TCP}))
		request, mac := sign(t, m.SetTsig(testKey, dns.HmacSHA256, 300, time.Now().Unix()), testSecret, nil)
		wire := server.Answer(nil, request, dnsserver.Client{})
		var reply dns.Msg
		if err := reply.Unpack(wire); err != nil {
			t.Fatal(err)
		}
		if err := dns.TsigVerify(wire, base64.StdEncoding.EncodeToString([]byte(testSecret)), mac, false); err != nil {
			t.Error(err)
		}
		tsig := len(request) - len(plain)
		if len(wire) > 512 || reply.Truncated != (unsigned+tsig > 512) {
			t.Errorf("%d octets and a TSIG of %d: %d sent, TC %v", unsigned, tsig, len(wire), reply.Truncated)
		}
		if reply.Truncated && unsigned <= 512 {
			truncated++
		} else if !reply.Truncated {
			whole++
		}
	}
	if whole == 0 || truncated == 0 {
		t.Errorf("%d whole, %d truncated for the signature alone", whole, truncated)
	}
}

// TestReplyWithoutRoomForItsTSIG: where the question and the key have names as long as can be, TC goes without.
func TestReplyWithoutRoomForItsTSIG(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("k", 63) + "."
	key := label + label + label + strings.Repeat("k", 61) + "."
	ring, err := dnsserver.NewKeyring(dnsserver.Key{Name: key, Algorithm: "hmac-sha256", Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	server := &dnsserver.Server{Keys: ring, Zones: dnsserver.NewZoneSet(testZone(t, newNames()))}
	m := new(dns.Msg).SetQuestion(label+label+label+strings.Repeat("q", 43)+".auth.example.org.", dns.TypeTXT)
	request, _ := sign(t, m.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix()), testSecret, nil)
	wire := server.Answer(nil, request, dnsserver.Client{})
	var reply dns.Msg
	if err := reply.Unpack(wire); err != nil || len(wire) > 512 || !reply.Truncated || reply.IsTsig() != nil || len(reply.Question) != 1 {
		t.Errorf("%d octets, %v: %v", len(wire), err, &reply)
	}
	over := server.Answer(nil, request, dnsserver.Client{Transport: dnsserver.TCP})
	if err := reply.Unpack(over); err != nil || reply.Rcode != dns.RcodeNameError || reply.IsTsig() == nil {
		t.Errorf("over TCP: %v, %v", err, &reply)
	}
}

func TestMisplacedTSIGIsAFormatError(t *testing.T) {
	t.Parallel()
	server := &dnsserver.Server{Keys: keyring(t), Zones: dnsserver.NewZoneSet(transferZone(t, newNames()))}
	sig := func(change func(*dns.TSIG)) *dns.TSIG {
		s := &dns.TSIG{
			Hdr:       dns.RR_Header{Name: testKey, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
			Algorithm: dns.HmacSHA256, Fudge: 300, TimeSigned: uint64(time.Now().Unix()), MACSize: 32, MAC: strings.Repeat("00", 32),
		}
		change(s)
		return s
	}
	as := func(change func(*dns.TSIG)) *dns.Msg {
		m := new(dns.Msg).SetQuestion("auth.example.org.", dns.TypeSOA)
		m.Extra = []dns.RR{sig(change)}
		return m
	}
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: 1232}}
	twice, early, answer1, authority := as(func(*dns.TSIG) {}), as(func(*dns.TSIG) {}), as(func(*dns.TSIG) {}), as(func(*dns.TSIG) {})
	twice.Extra = append(twice.Extra, twice.Extra[0])
	early.Extra = append(early.Extra, opt)
	answer1.Answer, answer1.Extra = answer1.Extra, nil
	authority.Ns, authority.Extra = authority.Extra, nil
	for name, m := range map[string]*dns.Msg{
		"twice": twice, "before OPT": early, "in the answer": answer1, "in the authority": authority,
		"another class": as(func(s *dns.TSIG) { s.Hdr.Class = dns.ClassINET }),
		"a TTL":         as(func(s *dns.TSIG) { s.Hdr.Ttl = 1 }),
		"short MAC":     as(func(s *dns.TSIG) { s.MACSize, s.MAC = 9, strings.Repeat("00", 9) }),
		"no MAC":        as(func(s *dns.TSIG) { s.MACSize, s.MAC = 0, "" }),
		"long MAC":      as(func(s *dns.TSIG) { s.MACSize, s.MAC = 33, strings.Repeat("00", 33) }),
	} {
		if got := reply(t, server, m); got.Rcode != dns.RcodeFormatError || len(got.Answer) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}
