package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cnamed/config"
	"cnamed/registry"
	"cnamed/registry/sqlite"
)

// manyAccounts is a data folder with n accounts, open in the registry.
func manyAccounts(t *testing.T, n int) (data string, reg *registry.Registry) {
	t.Helper()
	data = t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(data, "cnamed.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if reg, err = registry.Open(t.Context(), store, registry.Options{}); err != nil {
		t.Fatal(err)
	}
	var crowd sync.WaitGroup
	for range n {
		crowd.Go(func() {
			if _, err := reg.RegisterAs(context.Background(), registry.Registration{Note: "one of many"}); err != nil {
				t.Error(err)
			}
		})
	}
	crowd.Wait()
	return data, reg
}

// cnamed runs the program, and returns what it printed.
func cnamed(t *testing.T, args ...string) string {
	t.Helper()
	var out, talk bytes.Buffer
	if code := run(args, &out, &talk); code != 0 {
		t.Errorf("cnamed %s: exit %d: %s", strings.Join(args, " "), code, talk.String())
	}
	return out.String()
}

// TestManyAccountsAreListedOnce has more than two pages of accounts, in a
// running server and without one.
func TestManyAccountsAreListedOnce(t *testing.T) {
	t.Parallel()
	const n = 2*accountPageSize + 100
	data, reg := manyAccounts(t, n)
	server := newOperatorServer(data, reg, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	check := func() {
		t.Helper()
		var all []accountInfo
		if err := json.Unmarshal([]byte(cnamed(t, "account", "list", "--json", "--data", data)), &all); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, a := range all {
			seen[a.Username] = true
		}
		if len(all) != n || len(seen) != n {
			t.Errorf("%d accounts are listed, %d different ones, want %d", len(all), len(seen), n)
		}
		if lines := strings.Count(cnamed(t, "account", "search", "MANY", "--data", data), "\n"); lines != n+1 {
			t.Errorf("the table has %d lines, want %d", lines, n+1)
		}
	}
	check()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	server.Close()
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	check()
}

// TestPrunePagesThroughWhatItDeletes: the places that become free do not confuse
// the pages that follow.
func TestPrunePagesThroughWhatItDeletes(t *testing.T) {
	t.Parallel()
	data, reg := manyAccounts(t, 2*accountPageSize+100)
	if err := reg.Close(); err != nil {
		t.Fatal(err)
	}
	o, err := openOperator(t.Context(), &config.Config{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	tomorrow, deleted := time.Now().Add(24*time.Hour), 0
	err = o.accounts(t.Context(), accountQuery{unusedSince: tomorrow}, func(page []accountInfo) error {
		gone, err := o.prune(t.Context(), page, tomorrow)
		deleted += len(gone)
		return err
	})
	if err != nil || deleted != 2*accountPageSize+100 {
		t.Errorf("%d were deleted, %v", deleted, err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if out := cnamed(t, "account", "list", "--data", data); out != "no accounts\n" {
		t.Errorf("left are\n%s", out)
	}
}

func TestPlainTextCannotPlayWithATerminal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"shop": "shop", "Öl, 1": "Öl, 1", "a\x1b[2Jb": `"a\x1b[2Jb"`, "a\nb": `"a\nb"`} {
		if got := plain(in); got != want {
			t.Errorf("%q is printed as %s, want %s", in, got, want)
		}
	}
}
