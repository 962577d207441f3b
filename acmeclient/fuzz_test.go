package acmeclient

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// A normal name is its own normal form, is plain ASCII, and fits the DNS together with the challenge's label.
func FuzzNormalizeNames(f *testing.F) {
	for _, seed := range []string{"example.com", "*.EXAMPLE.com.", "münchen.example", "例え。テスト", "straße.de", "xn--mnchen-3ya.x", "a\u200db.c", "1.2.3.4", "*.*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		once, err := NormalizeNames([]string{name})
		if err != nil {
			return
		}
		twice, err := NormalizeNames(once)
		if err != nil || !slices.Equal(once, twice) {
			t.Errorf("%q becomes %q, and that becomes %q, %v", name, once, twice, err)
		}
		base := BaseDomain(once[0])
		if strings.Trim(base, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || len("_acme-challenge."+base) > 253 || len(base) == 0 {
			t.Errorf("%q becomes %q", name, once)
		}
	})
}

// Whatever a CA sends, a problem reads as one line without control characters, and is bounded.
func FuzzProblem(f *testing.F) {
	f.Add([]byte(`{"type": "urn:ietf:params:acme:error:caa", "detail": "no\u0007", "identifier": {"type": "dns", "value": "a.example"}}`), "30", `<x>;rel="help"`)
	f.Add([]byte(`{"subproblems": [{"detail": "x"}, {}], "title": "t", "instance": "\u001b]0;"}`), "Sun, 06 Nov 1994 08:49:37 GMT", `<a>;rel=alternate,<b`)
	f.Fuzz(func(t *testing.T, body []byte, retryAfter, link string) {
		res := &response{method: "POST", url: "https://ca.example/x", status: 429, body: body,
			header: map[string][]string{"Retry-After": {retryAfter}, "Link": {link}}}
		err := res.failure()
		if err == nil {
			t.Fatal("no error")
		}
		text := err.Error()
		if p, ok := err.(*Problem); ok {
			text += p.Hint()
			if p.RetryAfter < 0 {
				t.Errorf("RetryAfter %v", p.RetryAfter)
			}
		}
		if i := strings.IndexFunc(text, unicode.IsControl); i >= 0 {
			t.Errorf("control character in %q", text)
		}
	})
}

// A chain that parses has certificates, and they parse back from their PEM.
func FuzzParseChain(f *testing.F) {
	root := newIssuer(f, nil, "Root", time.Now(), time.Now().AddDate(1, 0, 0))
	good := encodePEM(root.certificate, root.certificate)
	f.Add(good)
	f.Add(good[:len(good)-30])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		chain, err := parseChain(data)
		if err != nil {
			return
		}
		again, err := parseChain(encodePEM(chain...))
		if err != nil || len(again) != len(chain) || len(chain) == 0 || len(chain) > maxChain {
			t.Fatalf("%d certificates, then %d, %v", len(chain), len(again), err)
		}
		verify(chain, root.key.Public(), []string{"example.com"}, time.Now()) // must not panic
	})
}
