package acmeclient

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cnamed/test/ca"
)

// replay answers w with what was recorded, after change.
func replay(w http.ResponseWriter, recorded *httptest.ResponseRecorder, change func(body string) string) {
	for name, values := range recorded.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(recorded.Code)
	io.WriteString(w, change(recorded.Body.String()))
}

// The CA does what it is asked, and its first answer to each kind of request never arrives.
func TestObtainSurvivesLostReplies(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	var lost sync.Map
	authority := startCA(t, ca.Options{Resolver: dns.addr, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			if _, again := lost.LoadOrStore(strings.Split(r.URL.Path, "/")[1], true); !again {
				panic(http.ErrAbortHandler)
			}
			replay(w, recorded, func(body string) string { return body })
		})
	}})
	obtain(t, newAccountClient(t, authority), authority, dns, "example.com", "*.example.com")
}

func TestObtainRefusesAnotherCertificate(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	var first atomic.Pointer[string]
	authority := startCA(t, ca.Options{Resolver: dns.addr, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/certZ/") {
				next.ServeHTTP(w, r)
				return
			}
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			replay(w, recorded, func(body string) string {
				first.CompareAndSwap(nil, &body)
				return *first.Load()
			})
		})
	}})
	c := newAccountClient(t, authority)
	obtain(t, c, authority, dns, "example.com")
	_, err := c.Obtain(testContext(t), Request{Names: []string{"example.com"}, Key: newKey(t, EC256), Solver: dns})
	if err == nil || !strings.Contains(err.Error(), "for another key") {
		t.Errorf("error %v", err)
	}
}

func TestOnlyOrderedDomainsAreAuthorized(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			replay(w, recorded, func(body string) string {
				if strings.HasPrefix(r.URL.Path, "/authZ/") {
					return strings.Replace(body, `"value": "example.com"`, `"value": "example.net"`, 1)
				}
				return body
			})
		})
	}})
	c := newAccountClient(t, authority)
	_, err := c.Obtain(testContext(t), Request{Names: []string{"example.com"}, Key: newKey(t, EC256), Solver: dns})
	if err == nil || !strings.Contains(err.Error(), "example.net: the CA wants it authorized, and it was not ordered") {
		t.Errorf("error %v", err)
	}
	if len(dns.presented) > 0 {
		t.Errorf("presented %v", dns.presented)
	}
}

// What was not accepted must not count against the account's limit of pending authorizations.
func TestUnusedAuthorizationsAreGivenUp(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	var given atomic.Int32
	authority := startCA(t, ca.Options{Resolver: dns.addr, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			var jws struct{ Payload string }
			if json.Unmarshal(body, &jws) == nil {
				payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
				if string(payload) == `{"status":"deactivated"}` {
					given.Add(1)
				}
			}
			next.ServeHTTP(w, r)
		})
	}})
	c := newAccountClient(t, authority)
	dns.present = func(context.Context, string) error { return errors.New("no") }
	names := []string{"example.com", "*.example.com", "example.net"}
	if _, err := c.Obtain(testContext(t), Request{Names: names, Key: newKey(t, EC256), Solver: dns}); err == nil {
		t.Error("no error")
	}
	if n := given.Load(); n != 3 {
		t.Errorf("%d authorizations were given up, want 3", n)
	}
}

func TestAccountIsLookedUpOnce(t *testing.T) {
	t.Parallel()
	ca := &scriptedCA{}
	c := ca.client(t)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { c.Order(testContext(t), "https://ca.test/no-such-order") })
	}
	group.Wait()
	if n := ca.count("POST /account"); n != 1 {
		t.Errorf("the account was looked up %d times", n)
	}
	if n := ca.count("GET /dir"); n != 1 {
		t.Errorf("the directory was fetched %d times", n)
	}
}

func TestRequestsAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		ca := &scriptedCA{answer: func(r *http.Request, _ string) *http.Response {
			if r.URL.Path == "/slow" {
				if now := running.Add(1); now > most.Load() {
					most.Store(now)
				}
				time.Sleep(time.Second) // nobody else runs until all have come this far
				running.Add(-1)
			}
			return nil
		}}
		c := ca.client(t)
		var group sync.WaitGroup
		for range 3 * maxInFlight {
			group.Go(func() { c.Order(t.Context(), "https://ca.test/slow") })
		}
		group.Wait()
		if n := most.Load(); n != maxInFlight {
			t.Errorf("%d requests at once, want %d", n, maxInFlight)
		}
	})
}

// The CA goes down after the order, and the error says which domain was left and what the CA said last.
func TestObtainNamesTheDomainWhenTheCAGoesDown(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/chalZ/") {
				http.Error(w, "<html>Down for maintenance</html>", http.StatusServiceUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	c := newAccountClient(t, authority)
	start := time.Now()
	_, err := c.Obtain(testContext(t), Request{Names: []string{"example.com"}, Key: newKey(t, EC256), Solver: dns})
	if err == nil || !strings.HasPrefix(err.Error(), "example.com: accepting challenge: ") || !strings.Contains(err.Error(), "Down for maintenance") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	dns.checkTidy(t)
}
