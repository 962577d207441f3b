package test

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cnamed/registry"
	"cnamed/registry/sqlite"
)

// cnamed runs a command that has to succeed, and returns what it prints.
func cnamed(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("cnamed %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// pair is two accounts of one client, who sets value n of the first, and after the
// answer that of the second. Both are registered in the order in which they are
// named, too.
type pair struct {
	accounts [2]account
	acked    [2]atomic.Int64 // newest value that was answered 200; -1: registered
}

// TestBackupUnderLoadIsOfOneMoment backs a server up again and again while clients
// register and update. What was acknowledged before a backup began is in it, and
// of what came later nothing is without what came before it.
func TestBackupUnderLoadIsOfOneMoment(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	data := t.TempDir()
	s := serve(t, data, "--api-register-limit", "off")
	const clients, backups = 32, 2
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	t.Cleanup(client.CloseIdleConnections)

	loading, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	var pairs sync.Map // *pair → nil, those of which both are registered
	var updates, longest atomic.Int64
	timed := func(call func() error) error {
		began := time.Now()
		err := call()
		updates.Add(1)
		for took := int64(time.Since(began)); ; {
			if old := longest.Load(); took <= old || longest.CompareAndSwap(old, took) {
				return err
			}
		}
	}
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for loading.Err() == nil {
				p := new(pair)
				for i := range p.accounts {
					err := timed(func() (err error) {
						p.accounts[i], err = registerAccount(ctx, client, s.API[0])
						return err
					})
					if err != nil {
						t.Errorf("registering: %v", err)
						return
					}
					p.acked[i].Store(-1)
				}
				pairs.Store(p, nil)
				for n := range 20 {
					for i := range p.accounts {
						err := timed(func() error {
							r, err := update(ctx, client, s.API[0], p.accounts[i], value(n))
							if err == nil {
								err = r.error(http.StatusOK)
							}
							return err
						})
						if err != nil {
							t.Errorf("updating: %v", err)
							return
						}
						p.acked[i].Store(int64(n))
					}
				}
			}
		})
	}
	eventually(t, func() error {
		if n := updates.Load(); n < 1000 {
			return fmt.Errorf("%d updates", n)
		}
		return nil
	})

	for i := range backups {
		type promise struct {
			*pair
			acked [2]int64
		}
		var promised []promise
		pairs.Range(func(key, _ any) bool {
			p := key.(*pair)
			// The second first: what is noted of the first is then no less.
			second := p.acked[1].Load()
			promised = append(promised, promise{p, [2]int64{p.acked[0].Load(), second}})
			return true
		})
		before := updates.Load()
		longest.Store(0)
		file := filepath.Join(t.TempDir(), fmt.Sprintf("backup-%d.db", i))
		said := cnamed(ctx, t, "backup", "--data", data, file)
		t.Logf("%d updates while the backup ran, the longest took %v; it said: %s",
			updates.Load()-before, time.Duration(longest.Load()), said)
		if updates.Load() == before {
			t.Error("no update was answered while the backup ran: the test shows nothing")
		}
		restored := filepath.Join(t.TempDir(), "data")
		cnamed(ctx, t, "restore", "--data", restored, file)
		newest := newestValues(t, filepath.Join(restored, "cnamed.db"))
		for _, p := range promised {
			for i, a := range p.accounts {
				if got, ok := newest[a.Subdomain]; !ok || got < p.acked[i] {
					t.Errorf("account %s: value %d was answered before the backup, which has %d (%v)", a.Subdomain, p.acked[i], got, ok)
				}
			}
		}
		pairs.Range(func(key, _ any) bool {
			p := key.(*pair)
			first, ok := newest[p.accounts[0].Subdomain]
			second, also := newest[p.accounts[1].Subdomain]
			if also && (!ok || second > first || first > second+1) {
				t.Errorf("of a pair the backup has value %d (%v) and value %d: two moments", first, ok, second)
			}
			return true
		})
	}
	stopLoad()
	group.Wait()
	if t.Failed() {
		return
	}

	// A server with the last of them takes the old credentials.
	stop(t, s)
	file := filepath.Join(t.TempDir(), "last.db")
	cnamed(ctx, t, "backup", "--data", data, file)
	restored := t.TempDir()
	cnamed(ctx, t, "restore", "--data", restored, file)
	s = serve(t, restored)
	pairs.Range(func(key, _ any) bool {
		p := key.(*pair)
		got := mustValues(t, s, p.accounts[1].Subdomain)
		if n := p.acked[1].Load(); n >= 0 && !slices.Contains(got, value(int(n))) {
			t.Errorf("value %d was answered 200, but %v is served", n, got)
		}
		r, err := update(ctx, client, s.API[0], p.accounts[0], value(1000))
		if err == nil {
			err = r.error(http.StatusOK)
		}
		if err != nil {
			t.Errorf("updating after the restore: %v", err)
		}
		return !t.Failed()
	})
}

// newestValues returns the number of the newest value of each account of a
// database, -1 for none.
func newestValues(t *testing.T, path string) map[string]int64 {
	t.Helper()
	newest := map[string]int64{}
	eachAccount(t, path, func(e *registry.Entry) {
		newest[e.Subdomain] = -1
		for _, v := range e.Values {
			var n int64
			if _, err := fmt.Sscanf(v.TXT, "value-%d", &n); err != nil {
				t.Fatal(err)
			}
			newest[e.Subdomain] = max(newest[e.Subdomain], n)
		}
	})
	return newest
}

// eachAccount reads a database, which a server may use.
func eachAccount(t *testing.T, path string, each func(*registry.Entry)) {
	t.Helper()
	r, err := sqlite.OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.Export(t.Context(), func(registry.State) error { return nil }, func(e *registry.Entry) error {
		each(e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
