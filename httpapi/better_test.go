package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"cnamed/httpapi"
	"cnamed/registry"
)

// TestDifferencesFromAcmeDNS is the list of what the HTTP API does otherwise
// than acme-dns, on purpose. The golden files show each on the wire.
func TestDifferencesFromAcmeDNS(t *testing.T) {
	t.Parallel()
	request := func(method, path, body string, header ...string) *http.Request {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		return r
	}
	broken := &fake{err: errors.Join(registry.ErrStore, errors.New(`near "secret": syntax error`))}
	only := func(source string) *fake {
		return &fake{update: func(_ context.Context, u registry.Update) error {
			if u.Source != netip.MustParseAddr(source) {
				return registry.ErrForbidden
			}
			return nil
		}}
	}
	behind := httpapi.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, ProxyHeader: httpapi.ProxyForwardedFor}
	pages := httpapi.Options{CORSOrigins: []string{"https://app.example"}}
	for _, test := range []struct {
		name    string
		theirs  string
		reg     *fake
		opts    httpapi.Options
		request *http.Request
		status  int
		body    string
		header  [2]string
	}{
		{"a body is bounded", "read whatever its size",
			&fake{}, httpapi.Options{}, request("POST", "/register", strings.Repeat(" ", httpapi.MaxBody+1)),
			413, `{"error": "payload_too_large"}`, [2]string{}},
		{"paths are cleaned in place", "307",
			&fake{}, httpapi.Options{}, request("POST", "//update", "{}"), 200, `{"txt":""}`, [2]string{}},
		{"a registration without a token is told so", "404, registration was all or nothing",
			&fake{}, httpapi.Options{Registration: httpapi.RegistrationToken}, request("POST", "/register", ""),
			403, `{"error": "token_required"}`, [2]string{}},
		{"a preflight for the headers of an update passes", "refused",
			&fake{}, pages, request("OPTIONS", "/update", "", "Origin", "https://app.example",
				"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-api-user,x-api-key"),
			204, "", [2]string{"Access-Control-Allow-Headers", "Content-Type, X-Api-User, X-Api-Key, X-Api-Token, Authorization"}},
		{"health fails with the database", "200",
			broken, httpapi.Options{}, request("GET", "/health", ""), 503, `{"error": "unhealthy"}`, [2]string{}},
		{"nothing of the database's error is told", "register answers with its text",
			broken, httpapi.Options{}, request("POST", "/register", ""), 500, `{"error": "db_error"}`, [2]string{}},
		{"overload is told with a time to come back", "the request hangs",
			&fake{err: registry.ErrOverloaded}, httpapi.Options{}, request("POST", "/update", "{}"),
			503, `{"error": "overloaded"}`, [2]string{"Retry-After", "1"}},
		{"an address that the client added to a header is not believed", "any of the addresses counts",
			only("192.0.2.7"), behind, request("POST", "/update", "{}", "X-Forwarded-For", "192.0.2.7, 198.51.100.9"),
			401, `{"error": "forbidden"}`, [2]string{}},
		{"an address that the proxy added is", "so does it there",
			only("192.0.2.7"), behind, request("POST", "/update", "{}", "X-Forwarded-For", "198.51.100.9, 192.0.2.7"),
			200, `{"txt":""}`, [2]string{}},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			httpapi.New(test.reg, test.opts).ServeHTTP(w, test.request)
			if w.Code != test.status || w.Body.String() != test.body || w.Header().Get(test.header[0]) != test.header[1] {
				t.Errorf("%d %s %v\nwant %d %s %v (acme-dns: %s)", w.Code, w.Body, w.Header(), test.status, test.body, test.header, test.theirs)
			}
		})
	}
}

// Too many failures are answered 429, which acme-dns does not know, whatever
// kind of failure it is; what comes with the right credentials is not.
func TestFailuresOfOneAddressAreLimited(t *testing.T) {
	t.Parallel()
	right := false
	var fastOnly bool
	h := httpapi.New(&fake{update: func(_ context.Context, u registry.Update) error {
		fastOnly = u.FastOnly
		if right {
			return nil
		}
		return registry.ErrForbidden
	}}, httpapi.Options{FailureLimit: httpapi.Rate{N: 2, Per: 1 << 40}})
	for i, want := range []int{401, 401, 429, 429} {
		w := do(h, "POST", "/update", "{}")
		if w.Code != want || (w.Header().Get("Retry-After") != "") != (want == 429) || fastOnly != (want == 429) {
			t.Errorf("failure %d: %d %v, only what is fast: %v", i, w.Code, w.Header(), fastOnly)
		}
	}
	right = true
	if w := do(h, "POST", "/update", "{}"); w.Code != 200 {
		t.Errorf("with the right credentials: %d", w.Code)
	}
	// Another address is another client.
	right = false
	r := httptest.NewRequest("POST", "/update", strings.NewReader("{}"))
	r.RemoteAddr = "198.51.100.1:1"
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 401 || fastOnly {
		t.Errorf("another address: %d, only what is fast: %v", w.Code, fastOnly)
	}
}

func TestSlowPasswordWaitsForItsAddress(t *testing.T) {
	t.Parallel()
	h := httpapi.New(&fake{err: registry.ErrSlow}, httpapi.Options{FailureLimit: httpapi.Rate{N: 1, Per: 1 << 40}})
	if w := do(h, "POST", "/update", "{"); w.Code != 401 {
		t.Errorf("a failure: %d", w.Code)
	}
	if w := do(h, "POST", "/update", "{}"); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("a password that takes long: %d %v", w.Code, w.Header())
	}
}
