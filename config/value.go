package config

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

type addr = netip.Addr

// ValueError says what is wrong with one value, and what mends it.
type ValueError struct {
	Msg    string
	Remedy string // may be empty
}

func (e *ValueError) Error() string { return e.Msg }

// Hint returns what mends the value, or nothing.
func (e *ValueError) Hint() string { return e.Remedy }

// parseDomain takes a host name in ASCII, RFC 1123 §2.1, of two labels or more.
func parseDomain(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if strings.Contains(name, "://") {
		return "", &ValueError{fmt.Sprintf("%q is a URL, not a domain name", s), "give the name alone, as auth.example.org"}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", &ValueError{fmt.Sprintf("%q is an address, not a domain name", s), "addresses go into ip"}
	}
	labels := strings.Split(name, ".")
	if len(name) > 253 || len(labels) < 2 {
		return "", &ValueError{fmt.Sprintf("%q is not a domain name of two labels or more", s), "give a name as auth.example.org"}
	}
	for _, l := range labels {
		if !isHostLabel(l) {
			return "", &ValueError{
				fmt.Sprintf("%q is not a domain name: the label %q is not made of 1 to 63 letters, digits and inner hyphens", s, l),
				"give a name as auth.example.org; an international one in its xn-- form",
			}
		}
	}
	return name, nil
}

func isHostLabel(l string) bool {
	if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for i := range len(l) {
		if c := l[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, &ValueError{fmt.Sprintf("%q is not an IP address", s), "give an address as 203.0.113.5 or 2001:db8::5, without port or prefix length"}
	case a.Zone() != "" || a.IsUnspecified() || a.IsMulticast():
		return a, &ValueError{fmt.Sprintf("%q is not an address that others can reach", s), "give the public address of this server"}
	}
	return a.Unmap(), nil
}

// parseListen takes host:port with an IP address, or nothing, as the host.
func parseListen(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", &ValueError{fmt.Sprintf("%q is not an address with a port", s), "give one as :53, 203.0.113.5:53 or [2001:db8::5]:53"}
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil {
		return "", &ValueError{fmt.Sprintf("%q has no IP address before its port", s), "name the address of an interface, or none for all of them"}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", &ValueError{fmt.Sprintf("%q has no port number from 0 to 65535", s), "give one as :53; 0 takes a free one"}
	} else {
		port = strconv.FormatUint(n, 10)
	}
	return net.JoinHostPort(host, port), nil
}

func parseMailbox(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Name != "" || a.Address != s {
		return "", &ValueError{fmt.Sprintf("%q is not a mail address", s), "give one as hostmaster@example.org"}
	}
	return s, nil
}

func parseRecord(s string) (string, error) {
	if strings.TrimSpace(s) == "" {
		return "", &ValueError{"an empty record", "give one as in a zone file: www A 203.0.113.7"}
	}
	return s, nil
}

// parseTTL takes a duration of whole seconds, at most the day beyond which no
// challenge has any use.
func parseTTL(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if n, nerr := strconv.Atoi(s); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 || d > 24*time.Hour || d%time.Second != 0 {
		return 0, &ValueError{fmt.Sprintf("%q is not a time of whole seconds up to 24h", s), "give one as 1s"}
	}
	return d, nil
}
