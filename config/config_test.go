package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cnamed/config"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cnamed.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileGivesEverySetting(t *testing.T) {
	t.Parallel()
	c, err := config.Load(write(t, `
domain = "Auth.Example.org."
ip = ["203.0.113.5", "2001:db8::5"]
data = "/srv/cnamed"

[dns]
listen = ["127.0.0.1:5353", "[::1]:5353"]
name-servers = ["ns1.auth.example.org"]
admin = "dns.team@example.org"
records = ["www A 203.0.113.7", 'note TXT "Kept As Written"']
ttl = "2s"
negative-ttl = 5

[api]
listen = "127.0.0.1:8443"
tls = "file"
cert = "c.pem"
key = "k.pem"
registration = "closed"
subdomains = "chosen"
register-limit = "10/m"
failure-limit = "off"
trusted-proxies = ["127.0.0.1", "10.0.0.0/8"]
proxy-header = "X-Real-IP"
proxy-protocol = "v2"
cors-origins = ["https://app.example", "https://b.example"]

[acme]
ca = "letsencrypt-staging"
ca-root = "root.pem"
email = "ops@example.org"

[log]
level = "debug"
format = "json"
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Domain != "auth.example.org" || len(c.IPs) != 2 || c.Data != "/srv/cnamed" {
		t.Errorf("top level: %+v", c)
	}
	if len(c.DNS.Listen) != 2 || c.DNS.TTL != 2*time.Second || c.DNS.NegativeTTL != 5*time.Second ||
		c.DNS.Records[1] != `note TXT "Kept As Written"` || c.DNS.Admin != "dns.team@example.org" {
		t.Errorf("dns: %+v", c.DNS)
	}
	if c.API.TLS != config.TLSFile || c.API.Registration != config.RegistrationClosed || !c.API.ChosenNames || c.API.Listen[0] != "127.0.0.1:8443" {
		t.Errorf("api: %+v", c.API)
	}
	if c.API.RegisterLimit != (config.Rate{N: 10, Per: time.Minute}) || c.API.FailureLimit != (config.Rate{}) ||
		len(c.API.TrustedProxies) != 2 || c.API.ProxyHeader != "X-Real-IP" || !c.API.ProxyProtocol || len(c.API.CORSOrigins) != 2 {
		t.Errorf("api: %+v", c.API)
	}
	if c.ACME.CA != "letsencrypt-staging" || !c.Log.JSON || c.Log.Level.String() != "DEBUG" {
		t.Errorf("acme, log: %+v %+v", c.ACME, c.Log)
	}
}

func TestOverrideReplacesTheWholeList(t *testing.T) {
	t.Parallel()
	path := write(t, "domain = \"auth.example.org\"\nip = [\"203.0.113.5\", \"203.0.113.6\"]\n")
	c, err := config.Load(path, map[string]config.Override{"ip": {Values: []string{"203.0.113.9"}, From: "--ip"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.IPs) != 1 || c.IPs[0].String() != "203.0.113.9" {
		t.Errorf("IPs = %v, want that of the override alone", c.IPs)
	}
}

// TestEveryMistakeIsReportedWithItsPlace has one mistake a line; the comment at
// its end is the place and the start of the message that must be reported.
func TestEveryMistakeIsReportedWithItsPlace(t *testing.T) {
	t.Parallel()
	lines := []struct{ text, want string }{
		{`domian = "auth.example.org"`, `1:1: domian: unknown key`},
		{`ip = ["203.0.113.5", "203.0.113"]`, `2:22: ip: "203.0.113" is not an IP address`},
		{`data = ["a"]`, `3:1: data: takes one value, not a list`},
		{`[dns]`, ``},
		{`listen = ["53", ":5353"]`, `5:11: dns.listen: "53" is not an address with a port`},
		{`ttl = "1500ms"`, `6:7: dns.ttl: "1500ms" is not a time of whole seconds`},
		{`admin = "hostmaster"`, `7:9: dns.admin: "hostmaster" is not a mail address`},
		{`records = [1.5]`, `8:12: dns.records: takes a string`},
		{`[api]`, ``},
		{`tls = "acmee"`, `10:7: api.tls: "acmee" is none of acme, file, none`},
		{`[apii]`, `11:2: apii: unknown table`},
	}
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.text + "\n")
	}
	path := write(t, text.String())
	_, err := config.Load(path, map[string]config.Override{
		"log.level": {Values: []string{"loud"}, From: "CNAMED_LOG_LEVEL"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.ReplaceAll(err.Error(), path+":", "")
	for _, l := range lines {
		if l.want != "" && !strings.Contains(got, l.want) {
			t.Errorf("%s\n\tis not reported as\n\t%s\n\tin\n%s", l.text, l.want, got)
		}
	}
	for _, want := range []string{`CNAMED_LOG_LEVEL: "loud" is none of debug, info, warn, error`, "domain: no domain is given"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	for _, p := range config.AsProblems(err) {
		if p.Hint() == "" {
			t.Errorf("no hint for: %v", p)
		}
	}
}

func TestSyntaxErrorHasAPlace(t *testing.T) {
	t.Parallel()
	path := write(t, "domain = \"auth.example.org\"\nip = [\"203.0.113.5\"\n[dns]\n")
	_, err := config.Load(path, nil)
	if err == nil || !strings.HasPrefix(err.Error(), path+":3:") {
		t.Errorf("got %v, want a place in line 3", err)
	}
}

func TestKeyGivenTwiceIsRefused(t *testing.T) {
	t.Parallel()
	_, err := config.Load(write(t, "domain = \"a.example\"\ndomain = \"b.example\"\nip = [\"203.0.113.5\"]\n"), nil)
	if err == nil {
		t.Error("no error")
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "absent.toml")
	_, err := config.Load(path, nil)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want the path in it", err)
	}
}

func TestProblemOfAUserOfTheConfigHasAPlace(t *testing.T) {
	t.Parallel()
	path := write(t, "domain = \"auth.example.org\"\nip = \"203.0.113.5\"\n[dns]\nrecords = [\n  \"www A 203.0.113.7\",\n  \"www A nonsense\",\n]\n")
	c, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Problem("dns.records", 1, errors.New("bad A"))
	if want := path + ":6:3: dns.records: bad A"; p.Error() != want {
		t.Errorf("got %q, want %q", p.Error(), want)
	}
}

func TestAddressesThatNobodyCanReachAreRefused(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0", "203.0.113.5:53", "203.0.113.0/24", ""} {
		_, err := config.Load("", map[string]config.Override{
			"domain": {Values: []string{"auth.example.org"}}, "ip": {Values: []string{v}, From: "--ip"}})
		if err == nil {
			t.Errorf("--ip %q is taken", v)
		}
	}
}

func TestDomainForms(t *testing.T) {
	t.Parallel()
	for v, ok := range map[string]bool{
		"auth.example.org": true, "AUTH.example.org.": true, "xn--bcher-kva.example": true,
		"localhost": false, "https://auth.example.org": false, "203.0.113.5": false, "a..b": false,
		"-a.example": false, "_x.example": false, "*.example.org": false, "bücher.example": false,
		strings.Repeat("a", 64) + ".example": false, strings.Repeat("a.", 130) + "example": false,
	} {
		_, err := config.Load("", map[string]config.Override{
			"domain": {Values: []string{v}, From: "--domain"}, "ip": {Values: []string{"203.0.113.5"}}})
		if (err == nil) != ok {
			t.Errorf("--domain %q: %v", v, err)
		}
	}
}

// FuzzLoad: whatever the file holds, Load returns, and a Config that it calls
// good has a domain, an address and something to listen on.
func FuzzLoad(f *testing.F) {
	f.Add("domain = \"auth.example.org\"\nip = [\"203.0.113.5\"]\n[dns]\nlisten = [\":53\"]\n")
	f.Add("dns = {listen = \":53\"}\n[[api]]\nx = 1\n")
	f.Add("a.b.\"c\" = '''x'''\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Load(write(t, text), nil)
		if err == nil && (c.Domain == "" || len(c.IPs) == 0 || len(c.DNS.Listen) == 0 || len(c.API.Listen) == 0) {
			t.Errorf("called good: %+v", c)
		}
	})
}
