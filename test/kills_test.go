package test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
	"cnamed/registry/sqlite"
	"cnamed/test/program"
)

var kills = flag.Int("kills", 40, "how many times TestNothingIsLostByKills kills the server")

// TestNothingIsLostByKills kills the real server with SIGKILL at random moments,
// some of them in the middle of its start, while clients register, update, change
// and delete accounts. After each start every account is what the last answer
// said, or what the one request without an answer would have made of it, whole.
// Meanwhile the store moves what has come together (see registry/sqlite/settle.go),
// which it does when there is much of it.
//
//	go test ./test -run TestNothingIsLostByKills -kills 500 -v
func TestNothingIsLostByKills(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	var settling *settling
	if settles {
		settling = crowd(t, data)
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	owners := newOwners(t, 8, seed)
	var starts []time.Duration
	var answered atomic.Int64
	open, early := 0, 0
	for range *kills {
		if random.IntN(8) == 0 && killStarting(t, data, time.Duration(random.Int64N(int64(20*time.Millisecond)))) {
			early++
			continue
		}
		began := time.Now()
		s, err := program.Start(testContext(t), binary, program.Options{}, serveArgs(data)...)
		if err != nil {
			t.Fatal(err)
		}
		starts = append(starts, time.Since(began))
		each(t, owners, func(o *owner) error { return o.settle(testContext(t), s.API[0]) })
		if t.Failed() {
			s.Kill()
			return
		}
		checkServed(t, s, owners)

		longest := 120 * time.Millisecond
		if random.IntN(6) == 0 {
			longest *= 8 // so long that all is moved
		}
		moment := time.AfterFunc(time.Duration(random.Int64N(int64(longest))), s.Kill)
		each(t, owners, func(o *owner) error {
			for {
				err := o.act(testContext(t), s.API[0])
				if errors.Is(err, errUnanswered) {
					return nil
				}
				if err != nil {
					return err
				}
				answered.Add(1)
			}
		})
		moment.Stop()
		s.Kill()
		for _, o := range owners {
			if n := len(o.steps); n > 0 && !o.steps[n-1].answered {
				open++
			}
		}
	}
	slices.Sort(starts)
	accounts := 0
	for _, o := range owners {
		accounts += len(o.accounts)
	}
	t.Logf("%d kills, %d of them before the server served; %d requests were answered and %d were open at a kill; %d accounts; "+
		"a start took %v (median), %v (worst)", *kills, early, answered.Load(), open, accounts, starts[len(starts)/2], starts[len(starts)-1])
	if answered.Load() < int64(*kills) || open == 0 {
		t.Error("so few: the test shows nothing")
	}
	if settling != nil {
		settling.check(t)
	}
}

// settling is a database in which changes are on their way to where they stay, and
// accounts that nobody uses.
type settling struct {
	path     string
	rows     int // that wait
	accounts []registry.Account
	values   []registry.Value // of each
}

// crowd makes a database with so many recent changes that they have to be moved:
// those of some accounts, and of many that are deleted again.
func crowd(t *testing.T, data string) *settling {
	t.Helper()
	at := time.Now().Truncate(time.Second)
	s := &settling{path: filepath.Join(data, "cnamed.db")}
	for n := range 2 {
		s.values = append(s.values, registry.Value{TXT: fmt.Sprintf("%043d", n), At: at})
	}
	var batch []registry.Mutation
	for i := 0; len(batch) < 120_000; i++ {
		a := registry.Account{Username: uuid.New(), Subdomain: uuid.NewString(), PasswordHash: make([]byte, 32), Created: at}
		a.Username[0] = 0 // the first to be moved
		batch = append(batch, registry.CreateAccount{Account: a})
		for _, v := range s.values {
			batch = append(batch, registry.PutValue{Username: a.Username, Value: v})
		}
		if i < 300 {
			s.accounts = append(s.accounts, a)
		} else {
			batch = append(batch, registry.DeleteAccount{Username: a.Username})
		}
	}
	s.rows = len(batch)
	commit(t, s.path, batch)
	return s
}

// commit makes a database with mutations.
func commit(t *testing.T, path string, batch []registry.Mutation) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Commit(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// check looks whether the accounts are what they were, and whether rows have left.
func (s *settling) check(t *testing.T) {
	t.Helper()
	left := make(map[string][]registry.Value)
	eachAccount(t, s.path, func(e *registry.Entry) { left[e.Subdomain] = slices.Clone(e.Values) })
	for _, a := range s.accounts {
		if got := left[a.Subdomain]; !slices.EqualFunc(got, s.values, func(a, b registry.Value) bool { return a.TXT == b.TXT && a.At.Equal(b.At) }) {
			t.Errorf("%s has the values %v, want %v", a.Subdomain, got, s.values)
		}
	}
	waiting, _ := unsettled(t, s.path)
	t.Logf("of %d rows that waited before, and what came, %d wait", s.rows, waiting)
	if waiting >= s.rows {
		t.Error("no rows have left: nothing was moved, and the test shows less than it should")
	}
}

// unsettled returns how many rows of the database at path wait to be moved, and how many
// accounts are where they stay.
func unsettled(t *testing.T, path string) (waiting, accounts int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.QueryRowContext(t.Context(), `SELECT waiting, (SELECT count(*) FROM accounts) FROM zone`).Scan(&waiting, &accounts)
	if err != nil {
		t.Fatal(err)
	}
	return waiting, accounts
}

// killStarting kills a server that begins to start. It reports false where the
// server was faster, and then ended it in good order.
func killStarting(t *testing.T, data string, after time.Duration) bool {
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	s, err := program.Start(ctx, binary, program.Options{}, serveArgs(data)...)
	if err == nil {
		stop(t, s)
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	return err != nil
}

// each has all owners do something at the same time.
func each(t *testing.T, owners []*owner, do func(*owner) error) {
	t.Helper()
	var group sync.WaitGroup
	for _, o := range owners {
		group.Go(func() {
			if err := do(o); err != nil {
				t.Errorf("%s: %v", o.name, err)
			}
		})
	}
	group.Wait()
}

// checkServed asks by DNS for one account of each owner.
func checkServed(t *testing.T, s *program.Server, owners []*owner) {
	t.Helper()
	for _, o := range owners {
		if len(o.accounts) == 0 {
			continue
		}
		a := o.accounts[o.random.IntN(len(o.accounts))]
		got, err := values(testContext(t), s.DNS[0], a.Subdomain)
		switch {
		case a.state.gone:
			if err == nil {
				t.Errorf("the deleted account %s is served: %v", a.Subdomain, got)
			}
		case err != nil || !slices.Equal(sorted(got), sorted(slices.Clone(a.state.values))):
			t.Errorf("%s is served with %v, %v; want %v", a.Subdomain, got, err, a.state.values)
		}
	}
}
