package httpapi

import (
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ProxyHeader is a header in which a reverse proxy says for whom it asks.
type ProxyHeader string

// The headers that can be believed.
const (
	ProxyNoHeader     ProxyHeader = ""                // the address of the connection counts
	ProxyForwardedFor ProxyHeader = "X-Forwarded-For" // a list; each proxy adds whom it saw to the end
	ProxyRealIP       ProxyHeader = "X-Real-IP"       // one address, which the proxy has replaced
	ProxyForwarded    ProxyHeader = "Forwarded"       // RFC 7239: a list; its "for" parameters count
)

// sources finds out where requests come from.
type sources struct {
	trusted []netip.Prefix
	header  ProxyHeader
}

// of returns the address of the client of a request that came from peer: peer
// itself, unless that is a trusted proxy. Then the header is walked from the
// right, since each proxy adds to its end, and everything to the left of an
// entry is only what the one in that entry claims. So the right-most address
// that is no trusted proxy is the client. An entry that is no address ends the
// walk at the proxy that wrote it: a proxy is in no client's allow list, whereas
// what is further left could have been written by anybody.
func (s *sources) of(peer netip.Addr, h http.Header) netip.Addr {
	client := peer
	for entry := range s.entries(h) {
		if !contains(s.trusted, client) {
			break
		}
		next, ok := parseHop(entry)
		if !ok {
			break
		}
		client = next
	}
	return client
}

// entries are what the header holds, the newest first. What is no entry is "".
func (s *sources) entries(h http.Header) iter.Seq[string] {
	lines := h[http.CanonicalHeaderKey(string(s.header))]
	switch s.header {
	case ProxyForwardedFor:
		return fromTheRight(lines, func(element string) string { return element })
	case ProxyForwarded:
		return fromTheRight(lines, forwardedFor)
	case ProxyRealIP:
		// Two of them are not from a proxy that replaces the header.
		if len(lines) != 1 {
			lines = nil
		}
		return slices.Values(lines)
	default:
		return func(func(string) bool) {}
	}
}

// fromTheRight walks the elements of a list header, the last one of the last
// line first, and yields what read finds in each.
//
// It looks for quotes from the right as well: those that a proxy wrote come in
// pairs, and one that a client wrote further left cannot change the meaning of
// what a proxy added.
func fromTheRight(lines []string, read func(element string) string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range slices.Backward(lines) {
			for more := true; more; {
				var element string
				line, element, more = cutLast(line, ',')
				if !yield(read(strings.Trim(element, " \t"))) {
					return
				}
			}
		}
	}
}

// cutLast cuts s around the last separator that is not between quotes.
func cutLast(s string, separator byte) (before, after string, found bool) {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch {
		case s[i] == '"' && !escaped(s[:i]):
			quoted = !quoted
		case s[i] == separator && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return "", s, false
}

// escaped reports whether what follows s is escaped: whether s ends in an odd
// number of backslashes.
func escaped(s string) bool { return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1 }

// forwardedFor returns the "for" parameter of an element of Forwarded, or ""
// where there is not exactly one (RFC 7239 §4). An address needs no escapes
// within its quotes, so that none are understood.
func forwardedFor(element string) string {
	node, count := "", 0
	for more := true; more; {
		var pair string
		element, pair, more = cutLast(element, ';')
		name, value, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(strings.Trim(name, " \t"), "for") {
			continue
		}
		count++
		node = strings.Trim(value, " \t")
		if len(node) >= 2 && node[0] == '"' && node[len(node)-1] == '"' {
			node = node[1 : len(node)-1]
		}
	}
	if count != 1 {
		return ""
	}
	return node
}

// parseHop reads an address as proxies write it: with or without a port, one of
// IPv6 with or without brackets.
func parseHop(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return plain(addr), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return plain(ap.Addr()), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			addr, err := netip.ParseAddr(inner)
			return plain(addr), err == nil && addr.Is6()
		}
	}
	return netip.Addr{}, false
}

// plain returns addr in the form in which addresses are compared.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// resolved returns r as if its client had asked without a proxy: RemoteAddr is
// the client's address. r itself stays as it is.
func (s *sources) resolved(r *http.Request) *http.Request {
	peer := clientAddr(r)
	client := s.of(peer, r.Header)
	if client == peer {
		return r
	}
	copied := *r
	copied.RemoteAddr = netip.AddrPortFrom(client, 0).String()
	return &copied
}

// clientAddr returns the address that a resolved request came from.
func clientAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // in no allow list
	}
	return plain(ap.Addr())
}
