package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"cnamed/config"
)

func TestFurtherZones(t *testing.T) {
	t.Parallel()
	c, err := config.Load(write(t, `
domain = "auth.example.org"
ip = ["203.0.113.5"]
[dns]
keys = ["hmac-sha256:XFR.example.org.:c2VjcmV0"]
transfer-to = ["192.0.2.53", "2001:db8::1/32 key xfr.example.org", "key xfr.example.org"]
notify = ["192.0.2.53", "[2001:db8::53]:5353 key xfr.example.org"]
[[zone]]
domain = "Auth.Example.NET"
[[zone]]
domain = "static.test"
names = "none"
name-servers = ["ns1.static.test"]
admin = "ops@static.test"
records = ["www A 203.0.113.7"]
ttl = "5s"
negative-ttl = 7
transfer-to = ["10.0.0.0/8"]
notify = ["10.0.0.1"]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Zone{
		{Domain: "auth.example.net", TTL: time.Second, NegativeTTL: time.Second},
		{Domain: "static.test", Static: true, NameServers: []string{"ns1.static.test"}, Admin: "ops@static.test",
			Records: []string{"www A 203.0.113.7"}, TTL: 5 * time.Second, NegativeTTL: 7 * time.Second,
			TransferTo: []config.Peer{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}},
			Notify:     []config.Secondary{{Addr: netip.MustParseAddrPort("10.0.0.1:53")}}},
	}
	if !reflect.DeepEqual(c.Zones, want) {
		t.Errorf("got  %+v\nwant %+v", c.Zones, want)
	}
	const key = "xfr.example.org"
	if got, want := c.DNS.TransferTo, []config.Peer{{Prefix: netip.MustParsePrefix("192.0.2.53/32")},
		{Prefix: netip.MustParsePrefix("2001:db8::/32"), Key: key}, {Key: key}}; !reflect.DeepEqual(got, want) {
		t.Errorf("transfer-to: %+v", got)
	}
	if got, want := c.DNS.Notify, []config.Secondary{{Addr: netip.MustParseAddrPort("192.0.2.53:53")},
		{Addr: netip.MustParseAddrPort("[2001:db8::53]:5353"), Key: key}}; !reflect.DeepEqual(got, want) {
		t.Errorf("notify: %+v", got)
	}
	if len(c.DNS.Keys) != 1 || c.DNS.Keys[0].Name != key || c.DNS.Keys[0].Secret.Reveal() != "secret" {
		t.Errorf("keys: %+v", c.DNS.Keys)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, c.DNS.Keys); strings.Contains(text, "secret") || strings.Contains(text, "736563726574") ||
			strings.Contains(text, "115 101") {
			t.Errorf("%s shows the secret: %s", verb, text)
		}
	}
}

func TestMistakesInZonesAndKeys(t *testing.T) {
	t.Parallel()
	_, err := config.Load(write(t, `
domain = "auth.example.org"
ip = ["203.0.113.5"]
[dns]
keys = ["hmac-md5:a.test:c2VjcmV0", "hmac-sha256:a.test:???", "hmac-sha256:b.test:c2VjcmV0", "c2VjcmV0", "hmac-sha512:b.test:c2VjcmV0"]
transfer-to = ["nobody", "", "192.0.2.0/24 key missing.test", "::ffff:10.0.0.0/104"]
notify = ["192.0.2.0/24", "0.0.0.0", "192.0.2.1:0", "192.0.2.1 192.0.2.2"]
[[zone]]
domain = "auth.example.org"
[[zone]]
domian = "x.test"
names = "some"
[[zone]]
domain = "y.test"
transfer-to = ["key missing.test"]
[zone.dns]
`), nil)
	want := []string{
		`5:9: dns.keys: "hmac-md5" is none of`, `5:37: dns.keys: the secret of the key a.test is not base64`,
		`5:94: dns.keys: not a key of three parts`, `5:106: dns.keys: the key b.test is there twice`,
		`6:16: dns.transfer-to: "nobody" is neither`, `6:26: dns.transfer-to: "" is no address`,
		`6:63: dns.transfer-to: "::ffff:10.0.0.0/104" is a prefix of mapped`,
		`7:11: dns.notify: "192.0.2.0/24" is not an address`, `7:27: dns.notify: "0.0.0.0" is not`, `7:38: dns.notify: "192.0.2.1:0" is not`,
		`7:53: dns.notify: "192.0.2.1 192.0.2.2" is no address`,
		`9:10: zone[0].domain: auth.example.org is the zone of domain already`,
		`10:3: zone[1].domain: no domain is given`, `11:1: zone[1].domian: unknown key`, `12:9: zone[1].names: "some" is none of`,
		`zone.dns: unknown table`,
	}
	for _, text := range want {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("not reported: %s", text)
		}
	}
	if t.Failed() {
		t.Logf("%v", err)
	}
	if strings.Contains(err.Error(), "c2Vj") {
		t.Errorf("a secret is in the report:\n%v", err)
	}
	_, err = config.Load(write(t, `
domain = "auth.example.org"
ip = ["203.0.113.5"]
dns.transfer-to = ["192.0.2.53", "192.0.2.0/24 key missing.test"]
dns.notify = ["192.0.2.53 key missing.test"]
[[zone]]
domain = "y.test"
transfer-to = ["key missing.test"]
`), nil)
	for _, text := range []string{"4:34: dns.transfer-to", "5:15: dns.notify", "8:16: zone[0].transfer-to"} {
		if err == nil || !strings.Contains(err.Error(), text+": there is no key missing.test") {
			t.Errorf("not reported: %s\n%v", text, err)
		}
	}
	for _, text := range []string{"[zone]\ndomain = \"x.test\"\n", "zone = [{domain = \"x.test\"}]\n"} {
		_, err := config.Load(write(t, text), nil)
		if err == nil || !strings.Contains(err.Error(), "is a list of tables") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	file := func(mode os.FileMode, text string) string {
		path := filepath.Join(t.TempDir(), "xfr.key")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	load := func(path string) (*config.Config, error) {
		return config.Load("", map[string]config.Override{
			"domain": {Values: []string{"auth.example.org"}}, "ip": {Values: []string{"203.0.113.5"}},
			"dns.key-files": {Values: []string{path}, From: "--dns-key-files"},
		})
	}
	// As tsig-keygen writes it, a line of ours, and a comment.
	text := "key \"XFR.example.org\" {\n\talgorithm hmac-sha512;\n\tsecret \"c2VjcmV0\";\n};\n\n# ours\nhmac-sha256:b.test:c2VjcmV0\n"
	c, err := load(file(0o600, text))
	if err != nil || len(c.DNS.Keys) != 2 || c.DNS.Keys[0] != (config.Key{Name: "xfr.example.org", Algorithm: "hmac-sha512", Secret: "secret"}) {
		t.Errorf("%+v, %v", c.DNS.Keys, err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"readable by others": {file(0o640, text), "can be read by others"},
		"missing":            {filepath.Join(t.TempDir(), "none"), "cannot be read"},
		"empty":              {file(0o600, "# nothing\n"), "has no key"},
		"no base64":          {file(0o600, "\nhmac-sha256:b.test:=c2Vj\n"), "xfr.key:2: the secret of the key b.test is not base64"},
	} {
		if runtime.GOOS == "windows" && name == "readable by others" {
			continue
		}
		_, err := load(c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "c2Vj") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHintOfAMissingKey: it can be on another server only where there is a database.
func TestHintOfAMissingKey(t *testing.T) {
	t.Parallel()
	const hint = "name its file in key-files of [dns]; tsig-keygen a.test makes one"
	for database, want := range map[string]string{
		"sqlite":                           hint,
		"postgres://db.example.org/cnamed": hint + ", or start the server that has it first",
	} {
		c, _ := config.Load(write(t, fmt.Sprintf(`
domain = "auth.example.org"
ip = ["203.0.113.5"]
database = %q
dns.notify = ["192.0.2.53 key a.test"]
`, database)), nil)
		if problems := c.MissingKeys(); len(problems) != 1 || problems[0].Hint() != want {
			t.Errorf("%s: %v", database, problems)
		}
	}
}
