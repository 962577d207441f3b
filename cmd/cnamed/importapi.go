package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

func (c *converter) api() *configTable {
	a := &c.old.API
	t := &configTable{name: "api"}
	host := strings.Trim(a.IP, "[]")
	if host == "localhost" {
		host = "127.0.0.1"
	}
	port, note := "", "ip and port of acme-dns."
	if a.Port != nil {
		port = fmt.Sprint(a.Port)
	}
	if port == "" {
		port, note = "443", "acme-dns had no port set."
	}
	t.setList("listen", plainValues([]string{net.JoinHostPort(host, port)}), note)
	c.tls(t)
	registration := "open"
	if a.DisableRegistration {
		registration = "closed"
	}
	t.set("registration", registration, "acme-dns had no limits. Here registrations and failures to authenticate have one for each address: "+
		"register-limit and failure-limit.")
	if len(a.CORSOrigins) > 0 {
		t.setList("cors-origins", plainValues(a.CORSOrigins))
	}
	c.proxies(t)
	if others := c.othersNoted(); others != "" {
		t.note("Without a counterpart here: " + others + ".")
	}
	return t
}

// proxies says who may name the client in a header. acme-dns believed everybody,
// so that its configuration does not tell who the proxies are, but when the API
// can be reached from its own machine alone.
func (c *converter) proxies(t *configTable) {
	a := &c.old.API
	if !a.UseHeader {
		return
	}
	header := strings.ToLower(a.HeaderName)
	trusted := plainValues([]string{"127.0.0.1", "::1"})
	note := "acme-dns believed the header " + quote(a.HeaderName) + " of everybody, this server believes these proxies."
	host, err := netip.ParseAddr(strings.Trim(a.IP, "[]"))
	local := a.IP == "localhost" || err == nil && host.IsLoopback()
	known := slices.Contains([]string{"x-forwarded-for", "x-real-ip", "forwarded"}, header)
	if local && known {
		t.setList("trusted-proxies", trusted, note+" The API listens on this machine alone, and so the proxy is on it.")
		t.set("proxy-header", header)
		return
	}
	reason := "put the addresses of your proxies here. Until then allowfrom and the limits see theirs as that of every client"
	if !known {
		header = "x-forwarded-for"
		reason += ". Of the headers only x-forwarded-for, x-real-ip and forwarded are known"
	}
	t.items = append(t.items,
		&configItem{notes: []string{note}, key: "trusted-proxies", list: true,
			values: []*configValue{{text: "203.0.113.10", off: reason}}},
		&configItem{key: "proxy-header", values: []*configValue{{text: header, off: "it goes with trusted-proxies"}}})
}

// othersNoted lists the keys that nothing is made of.
func (c *converter) othersNoted() string {
	// These two say nothing in acme-dns either.
	others := slices.DeleteFunc(slices.Clone(c.old.Others), func(key string) bool {
		return key == "api.api_domain" || key == "api.autocert_port"
	})
	return strings.Join(others, ", ")
}

func (c *converter) tls(t *configTable) {
	a := &c.old.API
	switch a.TLS {
	case "letsencrypt", "letsencryptstaging":
		notes := []string{"tls was " + quote(a.TLS) + ". The server obtains and renews its certificate itself, which accepts the CA's terms of service."}
		if a.CacheDir != "" {
			notes = append(notes, "The certificate is kept below data, and obtained anew: acme_cache_dir is not used any more.")
		}
		t.set("tls", "acme", notes...)
	case "cert":
		t.set("tls", "file", "tls was \"cert\". The files are read again when they change, and the user that this server runs as must be able to.")
		t.set("cert", a.FullChain)
		t.set("key", a.PrivKey)
	case "none":
		t.set("tls", "none")
	default:
		t.set("tls", "none", "tls was "+quote(a.TLS)+", with which acme-dns spoke plain HTTP.")
	}
}

func (c *converter) acme() *configTable {
	t := &configTable{name: "acme"}
	switch c.old.API.TLS {
	case "letsencrypt":
		t.set("ca", "letsencrypt")
	case "letsencryptstaging":
		t.set("ca", "letsencrypt-staging")
	}
	if c.old.API.Email != "" {
		t.set("email", c.old.API.Email, "notification_email of acme-dns.")
	}
	return t
}

func (c *converter) log() *configTable {
	l := &c.old.LogConfig
	t := &configTable{name: "log"}
	switch level := strings.ToLower(l.Level); level {
	case "":
		t.set("level", "info")
	case "warning":
		t.set("level", "warn", "loglevel was \"warning\".")
	case "debug", "info", "warn", "error":
		t.set("level", level)
	default:
		t.set("level", "info", "loglevel was "+quote(l.Level)+".")
	}
	format := "text"
	if strings.EqualFold(l.Format, "json") {
		format = "json"
	}
	t.set("format", format)
	where := "standard output"
	if l.Type == "file" {
		where = "the file " + quote(l.File)
	}
	t.note("acme-dns logged to " + where + ". This server logs to standard error, where the service manager keeps it.")
	return t
}
