package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// parseRate takes a number in each second, minute, hour or day, or "off".
func parseRate(s string) (Rate, error) {
	if s == "off" {
		return Rate{}, nil
	}
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	number, unit, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(number)
	per, ok := units[unit]
	if err != nil || !ok || n < 1 || n > 1e9 {
		return Rate{}, &ValueError{fmt.Sprintf("%q is not a number in a second, minute, hour or day", s), "give one as 10/s, 60/m, 300/h or 1000/d, or off"}
	}
	return Rate{n, per}, nil
}

// parseNetwork takes an address or a prefix.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, &ValueError{fmt.Sprintf("%q is neither an address nor a CIDR prefix", s), "give one as 127.0.0.1, 10.0.0.0/8 or 2001:db8::/64"}
	case p.Addr().Is4In6():
		return p, &ValueError{fmt.Sprintf("%q is a prefix of mapped addresses", s), "give it as one of IPv4, such as 10.0.0.0/8"}
	}
	return p.Masked(), nil
}

// parseProxy takes an address or a prefix, but not everybody.
func parseProxy(s string) (netip.Prefix, error) {
	p, err := parseNetwork(s)
	if err == nil && p.Bits() == 0 {
		return p, &ValueError{fmt.Sprintf("%q trusts everybody, so that any client could name any address", s), "name the addresses of the proxies"}
	}
	return p, err
}

// maxReplyLimit is far above what one server can reply at all.
const maxReplyLimit = 100_000

// parseReplyLimit takes a number in each second, or "off".
func parseReplyLimit(s string) (int, error) {
	r, err := parseRate(s)
	if err != nil || r != (Rate{}) && (r.Per != time.Second || r.N > maxReplyLimit) {
		return 0, &ValueError{fmt.Sprintf("%q is not a number of replies in a second, up to %d", s, maxReplyLimit), "give one as 200/s, or off"}
	}
	return r.N, nil
}

// parseIdentity takes what fits into one string of a TXT record, RFC 1035 §3.3.
func parseIdentity(s string) (string, error) {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return "", &ValueError{fmt.Sprintf("%q is not of printable ASCII", s), "give a short name such as ns1"}
		}
	}
	if len(s) > 255 {
		return "", &ValueError{fmt.Sprintf("%q is longer than 255 octets", s), "give a short name such as ns1"}
	}
	return s, nil
}

// parseProxyHeader returns the canonical name of a header that can be believed,
// or nothing.
func parseProxyHeader(s string) (string, error) {
	names := map[string]string{"x-forwarded-for": "X-Forwarded-For", "x-real-ip": "X-Real-IP", "forwarded": "Forwarded", "none": ""}
	word, err := oneOf(strings.ToLower(s), "x-forwarded-for", "x-real-ip", "forwarded", "none")
	return names[word], err
}

// parseOrigin takes an origin and returns it as browsers write it (RFC 6454
// §6.2): in lower case, without a port that the scheme implies.
func parseOrigin(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	u, err := url.Parse(strings.ToLower(s))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Contains(u.Host, "*") ||
		u.Scheme+"://"+u.Host != strings.ToLower(s) {
		return "", &ValueError{fmt.Sprintf("%q is not an origin", s), "give one as https://app.example, without a path, or * for all"}
	}
	if p := u.Port(); p == "80" && u.Scheme == "http" || p == "443" && u.Scheme == "https" {
		return strings.TrimSuffix(u.Scheme+"://"+u.Host, ":"+p), nil
	}
	return u.Scheme + "://" + u.Host, nil
}

// checkProxies finds out whether what is said about proxies is enough. Which
// header a proxy sets cannot be guessed: one that it passes on untouched is
// the client's.
func (c *Config) checkProxies(wrong func(key string) bool) Problems {
	for _, key := range []string{"api.trusted-proxies", "api.proxy-header", "api.proxy-protocol"} {
		if wrong(key) {
			return nil
		}
	}
	how := c.API.ProxyHeader != "" || c.API.ProxyProtocol
	switch {
	case len(c.API.TrustedProxies) > 0 && !how:
		return Problems{c.Problem("api.trusted-proxies", 0, &ValueError{"nothing says how the proxies name the client",
			"set --api-proxy-header to the header that they replace or add to, or --api-proxy-protocol v2"})}
	case len(c.API.TrustedProxies) == 0 && how:
		key := "api.proxy-header"
		if c.API.ProxyHeader == "" {
			key = "api.proxy-protocol"
		}
		return Problems{c.Problem(key, 0, &ValueError{"no proxy is trusted, so that it would be believed from nobody",
			"name the addresses of the proxies with --api-trusted-proxies"})}
	}
	return nil
}
