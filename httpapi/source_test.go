package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

var (
	proxyAddr = netip.MustParseAddr("127.0.0.1")
	realAddr  = netip.MustParseAddr("203.0.113.9")
)

func testSources(header ProxyHeader) *sources {
	return &sources{trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}, header: header}
}

func TestSourceForms(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		header ProxyHeader
		lines  []string
		want   string
	}{
		{ProxyForwardedFor, nil, "127.0.0.1"},
		{ProxyForwardedFor, []string{""}, "127.0.0.1"},
		{ProxyForwardedFor, []string{"192.0.2.5"}, "192.0.2.5"},
		{ProxyForwardedFor, []string{"192.0.2.5:80"}, "192.0.2.5"},
		{ProxyForwardedFor, []string{"2001:db9::5"}, "2001:db9::5"},
		{ProxyForwardedFor, []string{"[2001:db9::5]"}, "2001:db9::5"},
		{ProxyForwardedFor, []string{"[2001:db9::5]:80"}, "2001:db9::5"},
		{ProxyForwardedFor, []string{"fe80::5%eth0"}, "fe80::5"},
		{ProxyForwardedFor, []string{"[192.0.2.5]"}, "127.0.0.1"},
		{ProxyForwardedFor, []string{"192.0.2.5,"}, "127.0.0.1"},
		{ProxyForwardedFor, []string{"192.0.2.5", "2001:db8::1", "127.0.0.7,127.0.0.8"}, "192.0.2.5"},
		{ProxyForwardedFor, []string{"127.0.0.9, 127.0.0.8"}, "127.0.0.9"}, // trusted all along
		{ProxyForwardedFor, []string{`192.0.2.5", 203.0.113.9`}, "203.0.113.9"},
		{ProxyRealIP, []string{" 192.0.2.5"}, "127.0.0.1"}, // net/http has trimmed it
		{ProxyRealIP, []string{"192.0.2.5"}, "192.0.2.5"},
		{ProxyRealIP, []string{"192.0.2.5", "192.0.2.6"}, "127.0.0.1"},
		{ProxyForwarded, []string{`for=192.0.2.5`}, "192.0.2.5"},
		{ProxyForwarded, []string{`FOR = "192.0.2.5"`}, "192.0.2.5"},
		{ProxyForwarded, []string{`for="[2001:db9::5]:80"; proto=https`}, "2001:db9::5"},
		{ProxyForwarded, []string{`proto=https;by=x`}, "127.0.0.1"},
		{ProxyForwarded, []string{`for=unknown`}, "127.0.0.1"},
		{ProxyForwarded, []string{`for=192.0.2.5;for=192.0.2.6`}, "127.0.0.1"},
		{ProxyForwarded, []string{`for="`}, "127.0.0.1"},
		{ProxyForwarded, []string{`for="192.0.2.\5"`}, "127.0.0.1"},
		{ProxyNoHeader, []string{"192.0.2.5"}, "127.0.0.1"},
	} {
		h := http.Header{http.CanonicalHeaderKey(string(test.header)): test.lines}
		if got := testSources(test.header).of(proxyAddr, h); got.String() != test.want {
			t.Errorf("%s %q: %s, want %s", test.header, test.lines, got, test.want)
		}
		if got := testSources(test.header).of(realAddr, h); got != realAddr {
			t.Errorf("%s %q, not from a proxy: %s", test.header, test.lines, got)
		}
	}
}

// FuzzSource: whatever a client puts into a header, what the proxy adds after it
// is believed, in the same line or in one of its own.
func FuzzSource(f *testing.F) {
	for _, s := range []string{"", "192.0.2.5", "192.0.2.5, 127.0.0.1", `for="192.0.2.5, for="`, `for=1;host="a\", for=192.0.2.5;b=\"`, `"`, `\`, ","} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, forged string) {
		for header, added := range map[ProxyHeader]string{
			ProxyForwardedFor: realAddr.String(), ProxyForwarded: `for="` + realAddr.String() + `:80";proto=https`,
		} {
			for name, lines := range map[string][]string{
				"one line":  {forged + ", " + added},
				"two lines": {forged, added},
				"two hops":  {forged, added + "," + strings.ReplaceAll(added, realAddr.String(), "127.0.0.7")},
			} {
				if got := testSources(header).of(proxyAddr, http.Header{string(header): lines}); got != realAddr {
					t.Errorf("%s, %s: %s", header, name, got)
				}
			}
		}
	})
}
