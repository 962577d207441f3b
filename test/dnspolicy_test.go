package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const clientCookie = "2464c4abcf10c957"

// askCookie asks server with a cookie, without a question (RFC 7873 §5.4), and
// returns the RCODE and the cookie of the reply.
func askCookie(t *testing.T, server, cookie string) (rcode int, reply string) {
	t.Helper()
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: dns.Id()}}
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie}}
	r, err := exchange(testContext(t), &dns.Client{Timeout: 10 * time.Second}, m, server)
	if err != nil || r.IsEdns0() == nil {
		t.Fatalf("%v %v", r, err)
	}
	for _, o := range r.IsEdns0().Option {
		if c, ok := o.(*dns.EDNS0_COOKIE); ok {
			reply = c.Cookie
		}
	}
	return r.Rcode, reply
}

// TestCookieOutlivesTheServer: a restart takes the cookies of the run before,
// and another server with the same secret does, though it makes its own with
// another; a server of its own does not.
func TestCookieOutlivesTheServer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := serve(t, data)
	_, cookie := askCookie(t, s.DNS[0], clientCookie)
	stop(t, s)

	path := filepath.Join(data, "cookie-secrets")
	secret, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != fs.FileMode(0o600) {
		t.Errorf("%v %v", info.Mode(), err)
	}
	rolled := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(rolled, []byte(strings.Repeat("0f", 16)+"\n"+string(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		data string
		more []string
		want int
	}{
		{"restarted", data, nil, dns.RcodeSuccess},
		{"rolled over", t.TempDir(), []string{"--dns-cookie-secrets", rolled}, dns.RcodeSuccess},
		{"another", t.TempDir(), nil, dns.RcodeBadCookie},
		{"without cookies", t.TempDir(), []string{"--dns-cookies", "off"}, dns.RcodeFormatError},
	} {
		s := serve(t, test.data, test.more...)
		rcode, again := askCookie(t, s.DNS[0], cookie)
		if rcode != test.want {
			t.Errorf("%s: %s, want %s", test.name, dns.RcodeToString[rcode], dns.RcodeToString[test.want])
		}
		if same := again == cookie; same != (test.name == "restarted") {
			t.Errorf("%s: cookie %s after %s", test.name, again, cookie)
		}
		stop(t, s)
	}
}

// TestCookiesOfNSD: NSD and this server, given one file of secrets, take each
// other's cookies.
func TestCookiesOfNSD(t *testing.T) {
	t.Parallel()
	nsd := pathOf("nsd")
	required(t, nsd != "", "NSD is not installed")
	data := t.TempDir()
	ours := serve(t, data).DNS[0]
	theirs := startNSD(t, nsd, "", fmt.Sprintf("answer-cookie: yes\n\tcookie-secret-file: %q", filepath.Join(data, "cookie-secrets"))).String()
	for _, servers := range [][2]string{{ours, theirs}, {theirs, ours}} {
		_, cookie := askCookie(t, servers[0], clientCookie)
		if rcode, again := askCookie(t, servers[1], cookie); rcode != dns.RcodeSuccess || again != cookie {
			t.Errorf("%s gave %s; %s said %s, and gave %s", servers[0], cookie, servers[1], dns.RcodeToString[rcode], again)
		}
	}
}

// TestDNSPolicyIsThatOfTheSettings asks a server that limits replies and says
// who it is.
func TestDNSPolicyIsThatOfTheSettings(t *testing.T) {
	t.Parallel()
	ask := func(server, network string) *dns.Msg {
		m := new(dns.Msg).SetQuestion("id.server.", dns.TypeTXT)
		m.Question[0].Qclass = dns.ClassCHAOS
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
		r, err := exchange(testContext(t), &dns.Client{Net: network, Timeout: 10 * time.Second}, m, server)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	s := serve(t, t.TempDir(), "--dns-reply-limit", "1/s", "--dns-reply-limit-exempt", "192.0.2.1", "--dns-identity", "ns1", "--dns-nsid", "ns2")
	if r := ask(s.DNS[0], "tcp"); len(r.Answer) != 1 || r.Answer[0].(*dns.TXT).Txt[0] != "ns1" || !strings.Contains(r.IsEdns0().String(), "ns2") && !strings.Contains(r.IsEdns0().String(), "6e7332") {
		t.Errorf("%v", r)
	}
	truncated := 0
	for range 20 { // two at once, and one each second
		if ask(s.DNS[0], "udp").Truncated {
			truncated++
		}
	}
	if truncated == 0 {
		t.Error("no reply was limited")
	}
	stop(t, s)
	s = serve(t, t.TempDir(), "--dns-reply-limit", "1/s")
	for range 20 {
		if r := ask(s.DNS[0], "udp"); r.Truncated || r.Rcode != dns.RcodeRefused {
			t.Errorf("%v", r)
		}
	}
	if _, reply := askCookie(t, s.DNS[0], clientCookie); len(reply) != 48 {
		t.Errorf("cookie %s", reply)
	}
	stop(t, s)
}
