package test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cnamed/httpapi"
	"cnamed/registry"
	"cnamed/registry/sqlite"
)

// TestHeldDatabaseIsNoEndlessQueue has another program hold the lock of the SQLite
// file while more writes come than may wait. Those beyond are refused at once, each
// kind of them with 503 and Retry-After, and nothing else suffers; those that wait
// are done when the lock is free.
func TestHeldDatabaseIsNoEndlessQueue(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	path := filepath.Join(t.TempDir(), "cnamed.db")
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(ctx, store, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	api := httptest.NewServer(httpapi.New(reg, httpapi.Options{}))
	t.Cleanup(api.Close)
	client := api.Client()
	a, err := registerAccount(ctx, client, api.URL)
	if err != nil {
		t.Fatal(err)
	}
	release := holdDatabase(t, path)

	// More than wait at once and are in one commit.
	const writes, waiting, batch = 12_000, 8192, 1024
	var done, refused, failed atomic.Int64
	full := make(chan struct{})
	var group sync.WaitGroup
	for i := range writes {
		group.Go(func() {
			err := reg.Update(context.Background(), registry.Update{Username: a.Username, Password: a.Password,
				Source: netip.MustParseAddr("127.0.0.1"), Subdomain: a.Subdomain, TXT: value(i)})
			switch {
			case err == nil:
				done.Add(1)
			case errors.Is(err, registry.ErrOverloaded):
				if refused.Add(1) == writes-waiting-batch-1 {
					close(full)
				}
			default:
				failed.Add(1)
				t.Log(err)
			}
		})
	}
	select {
	case <-full:
	case <-ctx.Done():
		t.Fatalf("%d writes were refused, of %d", refused.Load(), writes)
	}

	for _, r := range []struct{ method, path, body string }{
		{http.MethodPost, "/update", fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, a.Subdomain, value(1))},
		{http.MethodPost, "/register", ""},
		{http.MethodPatch, "/v1/account", `{"note":"n"}`},
		{http.MethodPost, "/v1/account/password", ""},
		{http.MethodDelete, "/v1/account/values", ""},
		{http.MethodDelete, "/v1/account/values/" + value(1), ""},
		{http.MethodDelete, "/v1/account", ""},
	} {
		request, err := http.NewRequestWithContext(ctx, r.method, api.URL+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Api-User", a.Username)
		request.Header.Set("X-Api-Key", a.Password)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" {
			t.Errorf("%s %s: %s, Retry-After %q", r.method, r.path, response.Status, response.Header.Get("Retry-After"))
		}
	}
	// What needs no write is answered.
	if r, err := call(ctx, client, http.MethodGet, api.URL+"/v1/account", a, ""); err != nil || r.status != http.StatusOK {
		t.Errorf("GET /v1/account: %v %d", err, r.status)
	}
	if _, exists, err := reg.AppendTXT(nil, []byte(a.Subdomain)); err != nil || !exists {
		t.Errorf("the name is not served: %v", err)
	}

	release()
	group.Wait()
	t.Logf("of %d writes %d were done, %d refused", writes, done.Load(), refused.Load())
	if done.Load() < waiting || failed.Load() > 0 {
		t.Errorf("%d writes of those that waited were done, and %d failed", done.Load(), failed.Load())
	}
	if r, err := update(ctx, client, api.URL, a, value(writes)); err != nil || r.status != http.StatusOK {
		t.Errorf("afterwards: %v %d %s", err, r.status, r.body)
	}
}

// holdDatabase takes the lock of writers of a SQLite file, as another program
// would, until release.
func holdDatabase(t *testing.T, path string) (release func()) {
	t.Helper()
	other, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		_, err := conn.ExecContext(context.WithoutCancel(t.Context()), `ROLLBACK`)
		if err := errors.Join(err, conn.Close(), other.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	return release
}
