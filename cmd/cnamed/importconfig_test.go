package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cnamed/config"
	"cnamed/registry/acmedns"
)

// convert makes our configuration of the text of one of acme-dns, loads it as
// the server would, and returns both.
func convert(t *testing.T, old string, ips ...string) (string, *config.Config) {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, "config.cfg")
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := acmedns.ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := convertConfig(read, "/srv/cnamed", "", ips)
	if err != nil {
		t.Fatal(err)
	}
	written := filepath.Join(folder, "cnamed.toml")
	if err := os.WriteFile(written, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(written, nil)
	if err := checkAll(c, err); err != nil {
		t.Fatalf("the server does not start with\n%s\n%v", text, err)
	}
	return text, c
}

const oldGeneral = "[general]\ndomain = \"auth.example.org\"\nrecords = [\"auth.example.org. A 203.0.113.5\"]\n"

func TestSettingsOfAcmeDNS(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		old  string
		want []string // lines of ours, without the indent
		not  []string
	}{
		"nothing but the domain": {oldGeneral,
			[]string{`domain = "auth.example.org"`, `ip = ["203.0.113.5"]`, `data = "/srv/cnamed"`, `listen = [":443"]`, `tls = "none"`, `registration = "open"`, `level = "info"`},
			[]string{"name-servers =", "admin =", "[acme]"}},
		"addresses of the name server": {"[general]\ndomain = \"auth.example.org\"\nnsname = \"NS1.auth.example.org\"\nrecords = [\"ns1.auth.example.org. 60 IN A 203.0.113.6\", \"ns1.auth.example.org. AAAA 2001:db8::6\"]",
			[]string{`"203.0.113.6",`, `"2001:db8::6",`, `name-servers = ["ns1.auth.example.org"]`}, nil},
		"address that it listened on": {"[general]\ndomain = \"auth.example.org\"\nlisten = \"203.0.113.7:53\"",
			[]string{`ip = ["203.0.113.7"]`, `listen = ["203.0.113.7:53"]`}, nil},

		"every interface":      {strings.Replace(oldGeneral, "[general]", "[general]\nlisten = \":53\"\nprotocol = \"both\"", 1), []string{`listen = [":53"]`}, []string{"protocol"}},
		"IPv4":                 {strings.Replace(oldGeneral, "[general]", "[general]\nlisten = \":53\"\nprotocol = \"both4\"", 1), []string{`listen = ["0.0.0.0:53"]`, "# protocol was both4: IPv4 alone."}, nil},
		"IPv6":                 {strings.Replace(oldGeneral, "[general]", "[general]\nlisten = \"[::]:53\"\nprotocol = \"udp6\"", 1), []string{`listen = ["[::]:53"]`, "# protocol was udp6. This server always answers by UDP and by TCP, as a name server must (RFC 7766)."}, nil},
		"listening on no port": {strings.Replace(oldGeneral, "[general]", "[general]\nlisten = \"eth0\"", 1), []string{`#listen = ["eth0"]`, `# Left out: "eth0" is not an address with a port; give one as :53, 203.0.113.5:53 or`}, nil},

		"admin":                    {strings.Replace(oldGeneral, "[general]", "[general]\nnsadmin = \"admin.example.org\"", 1), []string{`admin = "admin@example.org"`, "# A mailbox. In acme-dns, nsadmin had a dot for the @: admin.example.org"}, nil},
		"admin with a dot":         {strings.Replace(oldGeneral, "[general]", `[general]`+"\n"+`nsadmin = 'dns\.team.example.org.'`, 1), []string{`admin = "dns.team@example.org"`}, nil},
		"admin with an @":          {strings.Replace(oldGeneral, "[general]", "[general]\nnsadmin = \"a@example.org\"", 1), []string{`admin = "a@example.org"`}, []string{"nsadmin"}},
		"admin of one label":       {strings.Replace(oldGeneral, "[general]", "[general]\nnsadmin = \"root\"", 1), []string{`#admin = "root"`}, nil},
		"first name server":        {strings.Replace(oldGeneral, `5"]`, `5", "auth.example.org. NS ns1.example.net."]`+"\nnsname = \"ns1.example.net\"", 1), nil, []string{"name-servers"}},
		"second name server":       {strings.Replace(oldGeneral, `5"]`, `5", "auth.example.org. NS ns1.example.net.", "auth.example.org. NS ns2.example.net."]`+"\nnsname = \"ns2.example.net.\"", 1), []string{`name-servers = ["ns2.example.net"]`}, nil},
		"not a name server":        {strings.Replace(oldGeneral, `5"]`, `5", "auth.example.org. NS ns1.example.net."]`+"\nnsname = \"ns2.example.net\"", 1), []string{"# nsname was ns2.example.net, which has no NS record in records. The SOA record names the first"}, []string{"name-servers"}},
		"API":                      {oldGeneral + "[api]\nip = \"0.0.0.0\"\nport = \"8080\"", []string{`listen = ["0.0.0.0:8080"]`}, nil},
		"API with a number":        {oldGeneral + "[api]\nip = \"::1\"\nport = 8080", []string{`listen = ["[::1]:8080"]`}, nil},
		"Let's Encrypt":            {oldGeneral + "[api]\ntls = \"letsencrypt\"\nport = \"443\"\nacme_cache_dir = \"api-certs\"\nnotification_email = \"ops@example.org\"", []string{`tls = "acme"`, `ca = "letsencrypt"`, `email = "ops@example.org"`}, nil},
		"Let's Encrypt, staging":   {oldGeneral + "[api]\ntls = \"letsencryptstaging\"", []string{`tls = "acme"`, `ca = "letsencrypt-staging"`}, []string{"email"}},
		"no mail address":          {oldGeneral + "[api]\ntls = \"letsencrypt\"\nnotification_email = \"ops\"", []string{`#email = "ops"`}, nil},
		"certificate from files":   {oldGeneral + "[api]\ntls = \"cert\"\ntls_cert_privkey = \"/etc/tls/key.pem\"\ntls_cert_fullchain = \"/etc/tls/chain.pem\"", []string{`tls = "file"`, `cert = "/etc/tls/chain.pem"`, `key = "/etc/tls/key.pem"`}, nil},
		"TLS that is no mode":      {oldGeneral + "[api]\ntls = \"yes\"", []string{`tls = "none"`, `# tls was "yes", with which acme-dns spoke plain HTTP.`}, nil},
		"no registration":          {oldGeneral + "[api]\ndisable_registration = true", []string{`registration = "closed"`, "# acme-dns had no limits."}, nil},
		"browsers":                 {oldGeneral + "[api]\ncorsorigins = [\"https://a.example\", \"*\"]", []string{`cors-origins = [`, `"https://a.example",`, `"*",`}, nil},
		"browsers of a pattern":    {oldGeneral + "[api]\ncorsorigins = [\"https://*.example\"]", []string{`#cors-origins = ["https://*.example"]`, `# Left out: "https://*.example" is not an origin`}, nil},
		"header on loopback":       {oldGeneral + "[api]\nip = \"127.0.0.1\"\nuse_header = true\nheader_name = \"X-Forwarded-For\"", []string{`trusted-proxies = [`, `"127.0.0.1",`, `"::1",`, `proxy-header = "x-forwarded-for"`}, []string{"Left out"}},
		"header from anywhere":     {oldGeneral + "[api]\nip = \"0.0.0.0\"\nuse_header = true\nheader_name = \"X-Real-IP\"", []string{`#trusted-proxies = ["203.0.113.10"]`, `#proxy-header = "x-real-ip"`, `# acme-dns believed the header "X-Real-IP" of everybody`, `# put the addresses of your proxies here.`}, nil},
		"header that nobody knows": {oldGeneral + "[api]\nip = \"127.0.0.1\"\nuse_header = true\nheader_name = \"X-Client\"", []string{`#proxy-header = "x-forwarded-for"`}, nil},
		"header that is not used":  {oldGeneral + "[api]\nheader_name = \"X-Client\"", nil, []string{"proxy-header", "X-Client"}},
		"settings of no effect":    {oldGeneral + "[api]\nhsts_enabled = true\napi_domain = \"\"\n[other]\nx = 1", []string{"# Without a counterpart here: api.hsts_enabled, other.x."}, []string{"api_domain"}},
		"log":                      {oldGeneral + "[logconfig]\nloglevel = \"warning\"\nlogtype = \"file\"\nlogfile = \"/var/log/acme-dns.log\"\nlogformat = \"json\"", []string{`level = "warn"`, `format = "json"`, `# acme-dns logged to the file "/var/log/acme-dns.log". This server logs to standard error, where the`}, nil},
		"log of an unknown level":  {oldGeneral + "[logconfig]\nloglevel = \"loud\"", []string{`level = "info"`, `# loglevel was "loud".`}, nil},
		"debug":                    {strings.Replace(oldGeneral, "[general]", "[general]\ndebug = true", 1), []string{`# debug was true: set level = "debug" in [log] for more to read.`}, nil},
		"a value with everything":  {oldGeneral + "[logconfig]\nlogtype = \"file\"\nlogfile = \"a\\n[x]\\u0007\"", []string{`# acme-dns logged to the file "a\n[x]\a". This server logs to standard error, where the service`}, nil},
		"keys in another case":     {"[General]\nDomain = \"Auth.Example.org.\"\nlisten = \"203.0.113.7:53\"", []string{`domain = "Auth.Example.org."`}, nil},
		"table of the v1 examples": {oldGeneral + "[api]\nport = \"443\"\nautocert_port = \"80\"", nil, []string{"autocert"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, _ := convert(t, test.old)
			lines := "\n"
			for l := range strings.Lines(text) {
				lines += strings.TrimSpace(l) + "\n"
			}
			comments := strings.Join(strings.Fields(strings.ReplaceAll(lines, "\n# ", " ")), " ")
			for _, want := range test.want {
				comment, is := strings.CutPrefix(want, "# ")
				if is && !strings.Contains(comments, comment) || !is && !strings.Contains(lines, "\n"+want+"\n") {
					t.Errorf("lacks %s", want)
				}
			}
			for _, not := range test.not {
				if strings.Contains(lines, not) {
					t.Errorf("has %s", not)
				}
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

func TestRecordsOfAcmeDNS(t *testing.T) {
	t.Parallel()
	for old, want := range map[string]string{
		// As they are.
		`www.auth.example.org. A 203.0.113.7`:          ``,
		`*.w.auth.example.org. 60 IN A 203.0.113.7`:    ``,
		`auth.example.org. CAA 0 issue "ca.example"`:   ``,
		`t.auth.example.org. TXT "a  b. c" "d;e"`:      ``,
		`x.auth.example.org. IN 1h CNAME www.Example.`: `acme-dns served the data of this one in lower case.`,
		`t.auth.example.org. TXT "Kept As Written"`:    `acme-dns served the data of this one in lower case.`,
		// Names were absolute without a dot.
		`www.auth.example.org A 203.0.113.7`:                      `=www.auth.example.org. A 203.0.113.7`,
		`auth.example.org NS ns1.auth.example.org`:                `=auth.example.org. NS ns1.auth.example.org.`,
		`auth.example.org. 300 MX  10 mail.example.org`:           `=auth.example.org. 300 MX  10 mail.example.org.`,
		`_s._tcp.auth.example.org SRV 1 2 3 h.example.org`:        `=_s._tcp.auth.example.org. SRV 1 2 3 h.example.org.`,
		`t.auth.example.org  IN TXT "t.auth.example.org is here"`: `=t.auth.example.org.  IN TXT "t.auth.example.org is here"`,
		// Refused, with the reason.
		`www A 203.0.113.7`:                       `#is outside the zone`,
		`www.example.com. A 203.0.113.7`:          `#is outside the zone`,
		`@ A 203.0.113.7`:                         `#is outside the zone`,
		`www.auth.example.org. A nonsense`:        `#not a record`,
		`auth.example.org. SOA a. b. 1 2 3 4 5`:   `#the SOA is made by the server`,
		`auth.example.org. CNAME www.example.com`: `#the origin has an SOA`,
		`nonsense`: `#not a record`,
		`$TTL 5`:   `#a directive is no record`,
	} {
		t.Run(old, func(t *testing.T) {
			t.Parallel()
			text, c := convert(t, "[general]\ndomain = \"auth.example.org\"\nrecords = ['auth.example.org. A 203.0.113.5', '"+old+"', '']\n")
			flat := strings.Join(strings.Fields(strings.ReplaceAll(text, "# ", "")), " ")
			active := len(c.DNS.Records) == 2
			switch {
			case strings.HasPrefix(want, "#"):
				if active || !strings.Contains(flat, "Left out:") || !strings.Contains(flat, want[1:]) {
					t.Errorf("served: %v; want it left out for %q in\n%s", active, want[1:], text)
				}
			case strings.HasPrefix(want, "="):
				if !active || c.DNS.Records[1] != want[1:] || !strings.Contains(flat, "A full name ends in a dot here; acme-dns had: ") {
					t.Errorf("%q, want %q in\n%s", c.DNS.Records, want[1:], text)
				}
			default:
				if !active || c.DNS.Records[1] != old || !strings.Contains(flat, want) {
					t.Errorf("%q, want it as it was, and %q, in\n%s", c.DNS.Records, want, text)
				}
			}
		})
	}
}

func TestAllRecordsCanBeLeftOut(t *testing.T) {
	t.Parallel()
	text, c := convert(t, "[general]\ndomain = \"auth.example.org\"\nrecords = ['a.example. A 192.0.2.1', 'b.example. A 192.0.2.1']\n", "203.0.113.5")
	if len(c.DNS.Records) != 0 || !strings.Contains(text, "\n#records = [\n") {
		t.Errorf("records %q in\n%s", c.DNS.Records, text)
	}
}

func TestConfigurationThatCannotBeMade(t *testing.T) {
	t.Parallel()
	for old, want := range map[string]string{
		"[general]\ndomain = \"auth.example.org\"":                                                         "does not tell the public address",
		"[general]\ndomain = \"localhost\"\nlisten = \"203.0.113.5:53\"":                                   "is not a domain name of two labels",
		oldGeneral + "[api]\ntls = \"cert\"":                                                               "no certificate is named",
		"[general]\ndomain = \"auth.example.org\"\nrecords = [\"auth.example.org. A 0.0.0.0\"]":            "does not tell the public address",
		"[general]\ndomain = \"auth.example.org\"\nlisten = \"0.0.0.0:53\"\nnsname = \"auth.example.org\"": "does not tell the public address",
	} {
		path := filepath.Join(t.TempDir(), "config.cfg")
		if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		read, err := acmedns.ReadConfig(path)
		if err == nil {
			_, err = convertConfig(read, "/srv/cnamed", "", nil)
		}
		var hinted interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &hinted) || hinted.Hint() == "" {
			t.Errorf("%s\n%v, want %q, with a hint", old, err, want)
		}
	}
}

// FuzzConvertConfig: whatever the old configuration says, the new one loads and
// makes a zone, or there is an error.
func FuzzConvertConfig(f *testing.F) {
	f.Add("auth.example.org", "www.auth.example.org A 192.0.2.1", "admin.example.org", ":53", "both4", "letsencrypt", "x")
	f.Add("a.b", "t TXT \"\\\"\n]\"", "a'b\"\\", "[::]:53", "udp", "cert", "\x7f\u2028")
	f.Fuzz(func(t *testing.T, domain, record, admin, listen, protocol, tls, other string) {
		old := &acmedns.Config{Path: "config.cfg", Others: []string{other}}
		old.General.Domain, old.General.Records, old.General.NSAdmin = domain, []string{record, record}, admin
		old.General.NSName, old.General.Listen, old.General.Protocol = other, listen, protocol
		old.API.TLS, old.API.FullChain, old.API.PrivKey, old.API.Email = tls, other, other, admin
		old.API.CORSOrigins, old.API.UseHeader, old.API.HeaderName, old.LogConfig.Level = []string{other}, true, other, other
		text, err := convertConfig(old, "/srv/"+other, "", []string{"203.0.113.5"})
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "cnamed.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, nil)
		if err := checkAll(c, err); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if c.Data != "/srv/"+other {
			t.Errorf("data is %q, want %q", c.Data, "/srv/"+other)
		}
	})
}
