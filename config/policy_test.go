package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cnamed/config"
)

// load loads settings beside the two that are needed.
func load(t *testing.T, settings map[string]string) (*config.Config, error) {
	t.Helper()
	overrides := map[string]config.Override{"domain": {Values: []string{"auth.example.org"}}, "ip": {Values: []string{"203.0.113.5"}}}
	for key, value := range settings {
		overrides[key] = config.Override{Values: strings.Split(value, " "), From: "--" + key}
	}
	c, err := config.Load("", overrides)
	for _, p := range config.AsProblems(err) {
		if p.Hint() == "" {
			t.Errorf("no hint for: %v", p)
		}
	}
	return c, err
}

func TestPolicyDefaults(t *testing.T) {
	t.Parallel()
	c, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := c.API
	if a.Registration != config.RegistrationOpen || a.RegisterLimit != (config.Rate{N: 2000, Per: time.Hour}) ||
		a.FailureLimit != (config.Rate{N: 600, Per: time.Minute}) || a.ProxyHeader != "" || a.ProxyProtocol ||
		len(a.TrustedProxies)+len(a.CORSOrigins) != 0 {
		t.Errorf("the defaults are %+v", a)
	}
}

func TestDNSPolicyDefaults(t *testing.T) {
	t.Parallel()
	c, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := c.DNS
	if d.ReplyLimit != 200 || fmt.Sprint(d.ReplyLimitExempt) != "[127.0.0.0/8 ::1/128]" || !d.Cookies || d.CookieSecrets+d.NSID+d.Identity+d.Version != "" {
		t.Errorf("the defaults are %+v", d)
	}
}

func TestRateForms(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]*config.Rate{
		"off": {}, "10/s": {N: 10, Per: time.Second}, "1/d": {N: 1, Per: 24 * time.Hour},
		"": nil, "10": nil, "0/h": nil, "-1/h": nil, "1/w": nil, "/h": nil, "1/h/h": nil, "1.5/h": nil, "99999999999/h": nil,
	} {
		c, err := load(t, map[string]string{"api.register-limit": v})
		if (err == nil) != (want != nil) || want != nil && c.API.RegisterLimit != *want {
			t.Errorf("%q: %v, %v", v, c.API.RegisterLimit, err)
		}
	}
}

func TestProxyForms(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]string{
		"127.0.0.1": "127.0.0.1/32", "10.1.2.3/8": "10.0.0.0/8", "2001:db8::1": "2001:db8::1/128", "::ffff:10.0.0.1": "10.0.0.1/32",
		"": "", "proxy": "", "10.0.0.0/33": "", "0.0.0.0/0": "", "::/0": "", "fe80::1%eth0": "", "::ffff:10.0.0.0/104": "",
	} {
		c, err := load(t, map[string]string{"api.trusted-proxies": v, "api.proxy-header": "X-Real-IP"})
		if (err == nil) != (want != "") || want != "" && c.API.TrustedProxies[0].String() != want {
			t.Errorf("%q: %v, %v", v, c.API.TrustedProxies, err)
		}
	}
}

func TestOriginForms(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]string{
		"*": "*", "https://App.Example": "https://app.example", "http://localhost:3000": "http://localhost:3000",
		"https://app.example:443": "https://app.example", "http://[::1]:80": "http://[::1]", "https://app.example:80": "https://app.example:80",
		"": "", "null": "", "app.example": "", "https://app.example/": "", "https://a@app.example": "", "https://*.example": "", "ftp://app.example": "",
	} {
		c, err := load(t, map[string]string{"api.cors-origins": v})
		if (err == nil) != (want != "") || want != "" && c.API.CORSOrigins[0] != want {
			t.Errorf("%q: %v, %v", v, c.API.CORSOrigins, err)
		}
	}
}

func TestReplyLimitForms(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]int{
		"off": 0, "1/s": 1, "200/s": 200, "100000/s": 100_000, "100001/s": -1, "200": -1, "60/m": -1, "0/s": -1, "-1/s": -1, "": -1,
	} {
		c, err := load(t, map[string]string{"dns.reply-limit": v})
		if (err == nil) != (want >= 0) || want >= 0 && c.DNS.ReplyLimit != want {
			t.Errorf("%q: %v, %v", v, c.DNS.ReplyLimit, err)
		}
	}
}

func TestReplyLimitExemptForms(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]string{
		"192.0.2.1": "[192.0.2.1/32]", "192.0.2.1/24 2001:db8::1": "[192.0.2.0/24 2001:db8::1/128]", "0.0.0.0/0": "[0.0.0.0/0]", "all": "", "::ffff:10.0.0.0/104": "",
	} {
		c, err := load(t, map[string]string{"dns.reply-limit-exempt": v})
		if (err == nil) != (want != "") || want != "" && fmt.Sprint(c.DNS.ReplyLimitExempt) != want {
			t.Errorf("%q: %v, %v", v, c.DNS.ReplyLimitExempt, err)
		}
	}
}

func TestIdentityForms(t *testing.T) {
	t.Parallel()
	for v, ok := range map[string]bool{"ns1.example.org": true, "": true, strings.Repeat("a", 255): true, strings.Repeat("a", 256): false, "ns\n": false, "ns\x7f": false, "nü": false} {
		for _, key := range []string{"dns.nsid", "dns.identity", "dns.version"} {
			if _, err := load(t, map[string]string{key: v}); (err == nil) != ok {
				t.Errorf("%s %q: %v", key, v, err)
			}
		}
	}
}

// Half a statement about proxies is a mistake, of the kind that shows only when
// somebody is locked out, or let in.
func TestProxiesAreSaidInFull(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		settings map[string]string
		want     string
	}{
		{map[string]string{"api.trusted-proxies": "127.0.0.1"}, "nothing says how the proxies name the client"},
		{map[string]string{"api.proxy-header": "forwarded"}, "--api.proxy-header: no proxy is trusted"},
		{map[string]string{"api.proxy-protocol": "v2"}, "--api.proxy-protocol: no proxy is trusted"},
		{map[string]string{"api.proxy-protocol": "v1", "api.trusted-proxies": "127.0.0.1"}, `"v1" is none of off, v2`},
		{map[string]string{"api.trusted-proxies": "127.0.0.1", "api.proxy-protocol": "v2"}, ""},
		{map[string]string{"api.trusted-proxies": "127.0.0.1 10.0.0.0/8", "api.proxy-header": "x-forwarded-for"}, ""},
	} {
		_, err := load(t, test.settings)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || len(config.AsProblems(err)) != 1) {
			t.Errorf("%v: %v, want %q", test.settings, err, test.want)
		}
	}
}
