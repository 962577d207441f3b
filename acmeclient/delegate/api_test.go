package delegate

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	testUser = "eabcdb41-d89f-4580-826f-3e62e9755ef2"
	testKey  = "pbAXVjlIOE01xbut7YnAbkhMQIkcwoHO0ek2j4Q0"
	testTXT  = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM"
)

// acmeDNS answers as acme-dns does.
func acmeDNS(w http.ResponseWriter, r *http.Request) {
	reply := func(status int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
	var body struct {
		AllowFrom      []string
		Subdomain, TXT string
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPost {
		reply(400, `{"error": "malformed_json_payload"}`)
		return
	}
	switch {
	case r.URL.Path == "/register" && len(body.AllowFrom) > 0 && !strings.Contains(body.AllowFrom[0], "/"):
		reply(400, `{"error": "invalid_allowfrom_cidr"}`)
	case r.URL.Path == "/register":
		allow, _ := json.Marshal(append([]string{}, body.AllowFrom...))
		reply(201, `{"username":"`+testUser+`","password":"`+testKey+`","fulldomain":"sub1.auth.example.org","subdomain":"sub1","allowfrom":`+string(allow)+`}`)
	case r.URL.Path != "/update":
		http.NotFound(w, r)
	case r.Header.Get("X-Api-User") != testUser || r.Header.Get("X-Api-Key") != testKey || body.Subdomain != "sub1":
		reply(401, `{"error": "forbidden"}`)
	case len(body.TXT) != 43:
		reply(400, `{"error": "bad_txt"}`)
	default:
		reply(200, `{"txt":"`+body.TXT+`"}`)
	}
}

func serveHTTP(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return srv.URL
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func TestRegisterThenUpdate(t *testing.T) {
	t.Parallel()
	url := serveHTTP(t, acmeDNS)
	for _, base := range []string{url, url + "/"} {
		a := &API{URL: base}
		r, err := a.Register(t.Context(), []string{"192.0.2.0/24"})
		if err != nil {
			t.Fatal(err)
		}
		if r.FullDomain != "sub1.auth.example.org" || r.ServerURL != url || len(r.AllowFrom) != 1 {
			t.Errorf("registered %+v", r)
		}
		if err := a.Update(t.Context(), r, testTXT); err != nil {
			t.Error(err)
		}
		if err := (&API{}).Update(t.Context(), r, testTXT); err != nil {
			t.Errorf("by the record's own server: %v", err)
		}
	}
}

func TestBaseMayHaveAPathAndUser(t *testing.T) {
	t.Parallel()
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "alice" || password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.StripPrefix("/deep/path", http.HandlerFunc(acmeDNS)).ServeHTTP(w, r)
	})
	plain := url + "/deep/path"
	a := &API{URL: strings.Replace(plain, "http://", "http://alice:s3cret@", 1) + "/"}
	r, err := a.Register(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.ServerURL != plain {
		t.Errorf("the record has the server %s", r.ServerURL)
	}
	if err := a.Update(t.Context(), r, testTXT); err != nil {
		t.Error(err)
	}
	_, err = (&API{URL: plain}).Register(t.Context(), nil)
	if !strings.Contains(hint(err), "https://user:password@host") {
		t.Errorf("without user: %v; %s", err, hint(err))
	}
}

func TestUserIsSentToItsOwnServerOnly(t *testing.T) {
	t.Parallel()
	other := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("another server got the user and password")
		}
		acmeDNS(w, r)
	})
	r := record(1)
	r.ServerURL = other
	if err := (&API{URL: "http://alice:s3cret@127.0.0.1:1"}).Update(t.Context(), r, testTXT); err != nil {
		t.Error(err)
	}
}

func TestErrorsOfTheServerAreTyped(t *testing.T) {
	t.Parallel()
	url := serveHTTP(t, acmeDNS)
	a := &API{URL: url}
	good := record(1)
	good.ServerURL = ""
	bad, limited := good, good
	bad.Password = "wrong"
	limited.Password, limited.AllowFrom = "wrong", []string{"192.0.2.0/24"}
	_, cidr := a.Register(t.Context(), []string{"192.0.2.1"})
	_, closed := (&API{URL: serveHTTP(t, http.NotFound)}).Register(t.Context(), nil)
	for _, tt := range []struct {
		err        error
		status     int
		code, hint string
	}{
		{a.Update(t.Context(), bad, testTXT), 401, "forbidden", "allow this machine's address"},
		{a.Update(t.Context(), limited, testTXT), 401, "forbidden", "192.0.2.0/24"},
		{a.Update(t.Context(), good, "short"), 400, "bad_txt", ""},
		{cidr, 400, "invalid_allowfrom_cidr", "192.0.2.1/32"},
		{closed, 404, "", "closed for registration"},
	} {
		var e *APIError
		if !errors.As(tt.err, &e) || e.Status != tt.status || e.Code != tt.code || !strings.HasPrefix(e.URL, "http://127.0.0.1:") {
			t.Errorf("error %v", tt.err)
			continue
		}
		if !strings.Contains(e.Hint(), tt.hint) || strings.Contains(tt.err.Error()+e.Hint(), "wrong") {
			t.Errorf("%v; %s", tt.err, e.Hint())
		}
	}
}

func TestTemporaryFailuresAreTriedAgain(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"error": "db_error"}`, http.StatusInternalServerError)
		},
		"503":        func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusServiceUnavailable) },
		"429":        func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusTooManyRequests) },
		"connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					fail(w, r)
					return
				}
				acmeDNS(w, r)
			})
			var logged bytes.Buffer
			r := record(1)
			r.ServerURL = ""
			a := &API{URL: url, Log: slog.New(slog.NewTextHandler(&logged, nil))}
			if err := a.Update(t.Context(), r, testTXT); err != nil || calls.Load() != 2 {
				t.Errorf("%d calls, %v", calls.Load(), err)
			}
			if !strings.Contains(logged.String(), "trying again") || strings.Contains(logged.String(), testKey) {
				t.Errorf("the log says %s", &logged)
			}
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	url := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	var e *APIError
	_, err := (&API{URL: url}).Register(t.Context(), nil)
	if !errors.As(err, &e) || e.RetryAfter != time.Hour || calls.Load() != 1 {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
	if _, err := (&API{URL: serveHTTP(t, http.NotFound), RetryFor: -1}).Register(t.Context(), nil); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	broken := serveHTTP(t, func(http.ResponseWriter, *http.Request) {
		cancel()
		panic(http.ErrAbortHandler)
	})
	if _, err := (&API{URL: broken}).Register(ctx, nil); err == nil {
		t.Error("no error after the context ended")
	}
}

func TestRetryAfterInBothForms(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0, "-1": 0, "soon": 0, "99999999999999999999": 0,
	} {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestRegistrationThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"<html>", "[]", "{}",
		`{"username":"u","password":"p","fulldomain":"a.example.org","subdomain":"b"}`,
		`{"username":"u","password":"p","fulldomain":"b.","subdomain":"b"}`,
		`{"username":"u","password":"p","fulldomain":"b.x y\n","subdomain":"b"}`,
		`{"username":"u","password":"","fulldomain":"b.example.org","subdomain":"b"}`,
		`{"username":"u","password":"p","fulldomain":"b.example.org","subdomain":"b","x":"` + strings.Repeat("x", maxReply) + `"}`,
	} {
		url := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		var e *ReplyError
		if _, err := (&API{URL: url}).Register(t.Context(), nil); !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("%.80q: %v", body, err)
		}
	}
}

func TestRedirectsAreNotFollowedWithCredentials(t *testing.T) {
	t.Parallel()
	thief := serveHTTP(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief+"/update", http.StatusTemporaryRedirect)
	})
	err := (&API{URL: url}).Update(t.Context(), Record{Subdomain: "sub1"}, testTXT)
	if !strings.Contains(hint(err), thief+"/update") {
		t.Errorf("%v; %s", err, hint(err))
	}
}

func TestTLSIsVerifiedAndHintsNameTheOption(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(acmeDNS))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	_, err := (&API{URL: srv.URL}).Register(t.Context(), nil)
	if !strings.Contains(hint(err), "--server-root") {
		t.Errorf("unknown root: %v; %s", err, hint(err))
	}
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	if _, err := (&API{URL: srv.URL, RootCAs: roots}).Register(t.Context(), nil); err != nil {
		t.Errorf("known root: %v", err)
	}
	local := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	if _, err = (&API{URL: local, RootCAs: roots}).Register(t.Context(), nil); !strings.Contains(hint(err), "in its certificate") {
		t.Errorf("another name: %v; %s", err, hint(err))
	}
	plain := strings.Replace(serveHTTP(t, acmeDNS), "http:", "https:", 1)
	if _, err = (&API{URL: plain}).Register(t.Context(), nil); !strings.Contains(hint(err), "does not speak TLS") {
		t.Errorf("no TLS: %v; %s", err, hint(err))
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	a := &API{}
	for _, good := range []string{"https://auth.example.org", "https://[2001:db8::1]:8443/x/", "http://127.0.0.9:80", "http://[::1]", "http://localhost"} {
		if _, err := a.base(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "auth.example.org", "ftp://auth.example.org", "https://", "https://h/?q", "https://h/#f",
		"http://auth.example.org", "http://192.0.2.1", "http://u:s3cret@localhost.example.org", "https://u:s3cret@h:port"} {
		_, err := a.base(bad)
		var e *AddressError
		if !errors.As(err, &e) || e.Hint() == "" || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := (&API{AllowHTTP: true}).base("http://auth.example.org"); err != nil {
		t.Errorf("with AllowHTTP: %v", err)
	}
}

func TestNoServerThere(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	url := srv.URL
	srv.Close()
	var e *ConnectError
	if _, err := (&API{URL: url, RetryFor: -1}).Register(t.Context(), nil); !errors.As(err, &e) || !strings.HasSuffix(e.URL, "/register") {
		t.Errorf("error %v", err)
	}
}
