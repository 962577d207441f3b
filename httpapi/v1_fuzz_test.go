package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"cnamed/httpapi"
)

// owner is who makes requests to an account of his own.
type owner struct {
	h                             http.Handler
	username, password, subdomain string
}

func newOwner(t testing.TB, h http.Handler) *owner {
	t.Helper()
	var cred struct{ Username, Password, Subdomain string }
	w := do(h, http.MethodPost, "/register", "")
	if err := json.Unmarshal(w.Body.Bytes(), &cred); err != nil {
		t.Fatal(err)
	}
	return &owner{h, cred.Username, cred.Password, cred.Subdomain}
}

func (o *owner) do(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Method, r.URL = method, &url.URL{Path: path}
	r.Header.Set("X-Api-User", o.username)
	r.Header.Set("X-Api-Key", o.password)
	w := httptest.NewRecorder()
	o.h.ServeHTTP(w, r)
	return w
}

// Any body of a change is granted, and then the account is as the reply says, or
// refused, and then it is as before.
func FuzzChange(f *testing.F) {
	for _, s := range []string{"", "{}", "null", "[]", "{} {}", `{"allowfrom":["192.0.2.0/24"]}`, `{"allowfrom":["0.0.0.0/0"],"note":"x"}`,
		`{"AllowFrom":null,"note":"\u2028"}`, `{"force":true,"allowfrom":["::1/128"]}`, `{"note":"\ud800"}`, "\xff"} {
		f.Add(s)
	}
	h := httpapi.New(newRegistry(f), httpapi.Options{Domain: "auth.example.org"})
	o := newOwner(f, h)
	f.Fuzz(func(t *testing.T, body string) {
		before := o.do(http.MethodGet, "/v1/account", "")
		if before.Code == http.StatusUnauthorized { // locked out by force
			o = newOwner(t, h)
			before = o.do(http.MethodGet, "/v1/account", "")
		}
		w := o.do(http.MethodPatch, "/v1/account", body)
		if !slices.Contains([]int{200, 400, 409, 413}, w.Code) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		want := before
		if w.Code == 200 {
			want = w
		}
		after := o.do(http.MethodGet, "/v1/account", "")
		if after.Code == 200 && after.Body.String() != want.Body.String() {
			t.Errorf("%d, then %s, want %s", w.Code, after.Body, want.Body)
		}
	})
}

// Any method and path below /v1, with right credentials or wrong ones, gets a
// reply that is no error of the server.
func FuzzV1(f *testing.F) {
	for _, path := range []string{"account", "account/password", "account/values", "account/values/x", "openapi.json",
		"account/values/" + strings.Repeat("v", 43), "..", "account/values/%2e%2e/../..", "\x00"} {
		for _, method := range []string{"GET", "DELETE", "PATCH", "POST", "OPTIONS"} {
			f.Add(method, path, "{}", true)
		}
	}
	h := httpapi.New(newRegistry(f), httpapi.Options{Domain: "auth.example.org"})
	o := newOwner(f, h)
	f.Fuzz(func(t *testing.T, method, path, body string, right bool) {
		if method == "DELETE" && path == "account" && right || path == "account/password" {
			o = newOwner(t, h)
		}
		who := *o
		if !right {
			who.password = strings.Repeat("p", 40)
		}
		w := who.do(method, "/v1/"+path, body)
		if w.Code >= 500 || w.Code < 200 {
			t.Errorf("%s %q: %d %s", method, path, w.Code, w.Body)
		}
		if text := w.Body.Bytes(); len(text) > 0 && !json.Valid(text) {
			t.Errorf("%s %q: %s", method, path, text)
		}
	})
}
