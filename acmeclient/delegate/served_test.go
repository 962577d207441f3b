package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cnamed/test/lab"

	"github.com/miekg/dns"
)

func TestServedWhenEveryServerHasEveryValue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.corp(t, goodCNAME)
	for _, c := range []*lab.Corp{w.auth1, w.auth2} {
		add(t, c, target+`. TXT "v1"`, target+`. TXT "v" "2"`) // strings of one record belong together
	}
	for _, c := range []*Checker{w.checker, w.through} {
		if err := c.Served(soon(t), "example.com", target, []string{"v1", "v2"}); err != nil {
			t.Errorf("through a resolver: %v: %v", c == w.through, err)
		}
	}
}

// A server lags: Served returns only after it caught up, and says so when it does not.
func TestServedWaitsForTheLastServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.corp(t, goodCNAME)
	add(t, w.auth1, target+`. TXT "v1"`)
	add(t, w.auth2, target+`. TXT "old"`)

	ctx, cancel := context.WithCancelCause(t.Context())
	after(w.auth2, 3, func() { cancel(errNotInTime) })
	err := w.checker.Served(ctx, "example.com", target, []string{"v1"})
	var e *NotServedError
	if !errors.As(err, &e) || !errors.Is(err, errNotInTime) || len(e.Views) != 1 || e.Hint() == "" {
		t.Fatalf("error %#v", err)
	}
	if want := `ns2.auth.example.org. (192.0.2.12): TXT ["old"]`; e.Views[0].String() != want {
		t.Errorf("it says %q, want %q", e.Views[0], want)
	}

	var caughtUp atomic.Bool
	after(w.auth2, 3, func() { add(t, w.auth2, target+`. TXT "v1"`); caughtUp.Store(true) })
	if err := w.checker.Served(soon(t), "example.com", target, []string{"v1"}); err != nil || !caughtUp.Load() {
		t.Errorf("returned with the server caught up: %v, %v", caughtUp.Load(), err)
	}
}

// after calls then when c was asked for the TXT values of the target n times more.
func after(c *lab.Corp, n int64, then func()) {
	var asked atomic.Int64
	c.Watch(func(q lab.Query) {
		if q.Name == target+"." && q.Type == dns.TypeTXT && asked.Add(1) == n {
			then()
		}
	})
}

// A server that was cut off by the end of the context must not be taken for one that is down.
func TestServedIsNotFooledByItsOwnEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.corp(t, goodCNAME)
	add(t, w.auth1, target+`. TXT "v1"`)
	w.auth2.Fail("", lab.Silent)
	ctx, cancel := context.WithCancel(t.Context())
	after(w.auth2, 1, cancel)
	if err := w.checker.Served(ctx, "example.com", target, []string{"v1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	w.corp2.Watch(func(q lab.Query) {
		if q.Type == dns.TypeCNAME {
			cancel()
		}
	})
	w.corp2.Fail(challenge, lab.Silent)
	if err := w.checker.Delegated(ctx, "example.com", target); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestServedPassesOverASilentServerAndWaitsForItOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.corp(t, goodCNAME)
	w.auth2.Fail("", lab.Silent)
	after(w.auth1, 4, func() { add(t, w.auth1, target+`. TXT "v1"`) })
	if err := w.checker.Served(soon(t), "example.com", target, []string{"v1"}); err != nil {
		t.Error(err)
	}
	asked := 0
	for _, q := range w.auth2.Queries() {
		if q.Name == target+"." {
			asked++
		}
	}
	if asked != 2 {
		t.Errorf("the silent server was asked %d times, want the two attempts of one question", asked)
	}
}

func TestServedSaysThatTheDelegationIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	var looks atomic.Int64
	w.corp1.Watch(func(q lab.Query) {
		if q.Type == dns.TypeCNAME && looks.Add(1) == 4 {
			cancel()
		}
	})
	err := w.checker.Served(ctx, "example.com", target, []string{"v1"})
	var e *NotDelegatedError
	if !errors.As(err, &e) || e.Problem != Missing {
		t.Errorf("error %v", err)
	}
}

// updates is the update call of a server whose two name servers are auth1 and auth2.
func updates(t *testing.T, w *world) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		var body struct{ Subdomain, TXT string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		for _, c := range []*lab.Corp{w.auth1, w.auth2} {
			if err := c.Add(body.Subdomain + `.auth.example.org. TXT "` + body.TXT + `"`); err != nil {
				t.Error(err)
			}
		}
		_, _ = rw.Write([]byte(`{"txt":"` + body.TXT + `"}`))
	}
}

func TestSolverPresentsBothValuesOfANameAndItsWildcard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.corp(t, goodCNAME)
	f, err := OpenFile(filepath.Join(t.TempDir(), "credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	r := record(1)
	r.ServerURL = serveHTTP(t, updates(t, w))
	if err := f.Put("example.com", r); err != nil {
		t.Fatal(err)
	}
	s := &Solver{Record: f.Get, API: &API{}, Checker: w.checker}
	if err := s.Present(soon(t), "example.com", []string{"first", "second"}); err != nil {
		t.Fatal(err)
	}
	if err := s.CleanUp(t.Context(), "example.com", []string{"first", "second"}); err != nil {
		t.Error(err)
	}
	err = s.Present(soon(t), "other.example", []string{"x"})
	if !errors.Is(err, ErrNoRecord) || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestSolverNamesTheDomainThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.corp(t, goodCNAME)
	r := record(1)
	r.ServerURL = serveHTTP(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("{}")) })
	s := &Solver{Record: func(string) (Record, error) { return r, nil }, API: &API{}, Checker: w.checker, Within: 1}
	err := s.Present(soon(t), "example.com", []string{"x"})
	if err == nil || !strings.Contains(err.Error(), "challenge of example.com") || !errors.Is(err, errNotInTime) {
		t.Errorf("error %v", err)
	}
}
