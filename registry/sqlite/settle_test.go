package sqlite

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

// settleAll moves all accounts and changes to where they stay.
func settleAll(t *testing.T, s *Store) {
	t.Helper()
	before := s.db.mostRecent
	s.db.mostRecent = 1
	for s.db.recent.rows > 0 {
		if _, err := s.Commit(t.Context(), []registry.Mutation{registry.Probe{At: moment}}); err != nil {
			t.Fatal(err)
		}
	}
	s.db.mostRecent = before
}

// loaded returns all accounts, with the values in the order of arrival.
func loaded(t *testing.T, s *Store) model {
	t.Helper()
	m := model{}
	_, err := s.Load(t.Context(), m.note)
	must(t, err)
	return m
}

// rowsOf counts the rows that wait, and those that are where they stay.
func rowsOf(t *testing.T, s *Store) (waiting, accounts, txt int) {
	t.Helper()
	must(t, s.db.conn.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM recent) + (SELECT count(*) FROM newcomers),
		(SELECT count(*) FROM accounts), (SELECT count(*) FROM txt)`).Scan(&waiting, &accounts, &txt))
	return waiting, accounts, txt
}

// model is what there is after mutations.
type model map[uuid.UUID]registry.Entry

// note takes over an entry of a store.
func (m model) note(e *registry.Entry) error {
	if _, twice := m[e.Username]; twice {
		return fmt.Errorf("%v comes twice", e.Username)
	}
	c := *e
	c.PasswordHash, c.AllowFrom, c.Values = slices.Clone(e.PasswordHash), slices.Clone(e.AllowFrom), slices.Clone(e.Values)
	m[e.Username] = c
	return nil
}

func (m model) apply(mutation registry.Mutation) {
	change := func(username uuid.UUID, f func(*registry.Entry)) {
		if e, there := m[username]; there {
			f(&e)
			m[username] = e
		}
	}
	switch c := mutation.(type) {
	case registry.CreateAccount:
		m[c.Username] = registry.Entry{Account: c.Account}
	case registry.DeleteAccount:
		delete(m, c.Username)
	case registry.PutValue:
		change(c.Username, func(e *registry.Entry) {
			e.Values = append(slices.DeleteFunc(e.Values, func(v registry.Value) bool { return v.TXT == c.TXT }), c.Value)
		})
	case registry.DropValue:
		change(c.Username, func(e *registry.Entry) {
			e.Values = slices.DeleteFunc(e.Values, func(v registry.Value) bool { return v.TXT == c.TXT && v.At.Equal(c.At) })
		})
	case registry.ReplacePassword:
		change(c.Username, func(e *registry.Entry) { e.PasswordHash = c.PasswordHash })
	case registry.SetNote:
		change(c.Username, func(e *registry.Entry) { e.Note = c.Note })
	case registry.SetAllowFrom:
		change(c.Username, func(e *registry.Entry) { e.AllowFrom = c.AllowFrom })
	case registry.MarkUsed:
		change(c.Username, func(e *registry.Entry) {
			if c.Updated.After(e.Updated) {
				e.Updated = c.Updated
			}
		})
	}
}

func (m model) clone() model {
	c := model{}
	for username, e := range m {
		e.Values = slices.Clone(e.Values)
		c[username] = e
	}
	return c
}

// free says whether no account has the name.
func (m model) free(subdomain string) bool {
	for _, e := range m {
		if e.Subdomain == subdomain {
			return false
		}
	}
	return true
}

// importEntry has s take in an account, unless it or its name is there.
func (m model) importEntry(t *testing.T, s *Store, entry registry.Entry) {
	t.Helper()
	taken := !m.free(entry.Subdomain)
	_, err := s.Import(t.Context(), registry.Import{
		Entries: func(yield func(*registry.Entry, error) bool) { yield(&entry, nil) },
		Taken: func(_, stored *registry.Entry) error {
			if !taken {
				t.Errorf("%v is not there, and taken by %v", entry.Username, stored)
			}
			got := model{}
			must(t, got.note(stored))
			model{stored.Username: m[stored.Username]}.want(t, "taken", got)
			return nil
		},
	})
	must(t, err)
	if !taken {
		m[entry.Username] = entry
	}
}

func (m model) want(t *testing.T, what string, got model) {
	t.Helper()
	if len(got) != len(m) {
		t.Fatalf("%s: %d accounts, want %d", what, len(got), len(m))
	}
	for username, want := range m {
		got := got[username]
		if !slices.EqualFunc(got.Values, want.Values, func(a, b registry.Value) bool { return a.TXT == b.TXT && a.At.Equal(b.At) }) {
			t.Fatalf("%s: the values of %v are %v, want %v", what, username, got.Values, want.Values)
		}
		if got.Subdomain != want.Subdomain || !slices.Equal(got.PasswordHash, want.PasswordHash) || got.Note != want.Note ||
			!slices.Equal(got.AllowFrom, want.AllowFrom) || got.Locked != want.Locked || !got.Created.Equal(want.Created) || !got.Updated.Equal(want.Updated) {
			t.Fatalf("%s: account %v is\n%+v, want\n%+v", what, username, got.Account, want.Account)
		}
	}
}

// TestSettlingChangesNoValue has accounts come, change and go at random, the same
// few again and again, while changes are on their way into txt, and looks at what is
// there in each way that there is to look: in memory, from outside, after the end of
// the process, and when all are moved.
func TestSettlingChangesNoValue(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			opts := Options{mostRecent: 1 + random.IntN(60)}
			path := filepath.Join(t.TempDir(), "cnamed.db")
			s, err := Open(t.Context(), path, opts)
			must(t, err)
			defer func() { must(t, s.Close()) }()
			accounts := make([]registry.Account, 5)
			for i := range accounts {
				accounts[i] = newAccount()
				accounts[i].Subdomain = fmt.Sprint("taken-in-turns-", i%3)
			}
			m := model{}
			moved := false
			for round := range 400 {
				after := m.clone()
				var batch []registry.Mutation
				for range random.IntN(12) {
					c := mutation(random, after, accounts[random.IntN(len(accounts))])
					after.apply(c)
					batch = append(batch, c)
				}
				if random.IntN(8) == 0 {
					_, err := s.Commit(t.Context(), append(slices.Clone(batch), registry.UseToken{ID: "none"}))
					if !errors.Is(err, registry.ErrNotFound) {
						t.Fatalf("a token that is not there: %v", err)
					}
				}
				if len(batch) == 0 {
					batch = []registry.Mutation{registry.Probe{At: moment}}
				}
				_, err := s.Commit(t.Context(), batch)
				must(t, err)
				m = after
				moved = moved || len(s.db.recent.moving) > 0
				switch random.IntN(24) {
				case 0:
					m.want(t, "loaded", loaded(t, s))
				case 1:
					m.want(t, "exported", exported(t, path))
				case 2: // whose memory ends in the midst of it
					must(t, s.Close())
					again, err := Open(t.Context(), path, opts)
					must(t, err)
					s = again
					m.want(t, fmt.Sprintf("opened again in round %d", round), loaded(t, s))
				case 4:
					v := registry.Value{TXT: fmt.Sprintf("%043d", random.IntN(6)), At: moment}
					m.importEntry(t, s, registry.Entry{Account: accounts[random.IntN(len(accounts))], Values: []registry.Value{v}})
				case 3:
					m.want(t, fmt.Sprintf("killed in round %d", round), loaded(t, killed(t, path)))
				case 5: // of which the memory is read anew, perhaps from a file that is written anew
					if random.IntN(2) == 0 {
						must(t, os.Remove(path))
					}
					_, err := s.Recover(t.Context())
					must(t, err)
					m.want(t, fmt.Sprintf("recovered in round %d", round), loaded(t, s))
				}
			}
			settleAll(t, s)
			m.want(t, "settled", loaded(t, s))
			want := 0
			for _, e := range m {
				want += len(e.Values)
			}
			if waiting, accounts, txt := rowsOf(t, s); waiting != 0 || accounts != len(m) || txt != want || !moved {
				t.Errorf("%d rows wait, there are %d accounts and %d values, want 0, %d and %d; rows were seen on their way: %v",
					waiting, accounts, txt, len(m), want, moved)
			}
			if r := s.db.recent; len(r.newcomers)+len(r.changes)+len(r.moving) > 0 {
				t.Errorf("when all is in its place the memory has %d accounts, %d changes, and %d rows on their way",
					len(r.newcomers), len(r.changes), len(r.moving))
			}
		})
	}
}

// killed opens what a kill now would leave. Nobody commits meanwhile, so that what the
// checkpointer may be writing into the file is in the log.
func killed(t *testing.T, path string) *Store {
	t.Helper()
	left := filepath.Join(t.TempDir(), "cnamed.db")
	for _, suffix := range []string{"", walSuffix} {
		data, err := os.ReadFile(path + suffix)
		must(t, err)
		must(t, os.WriteFile(left+suffix, data, 0o600))
	}
	return open(t, left)
}

// TestLargeBatchSettlesNoMore than others wait for.
func TestLargeBatchSettlesNoMore(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "cnamed.db"))
	a := newAccount()
	batch := []registry.Mutation{registry.CreateAccount{Account: a}}
	for i := range 5 * mostBrought {
		batch = append(batch, registry.PutValue{Username: a.Username, Value: registry.Value{TXT: fmt.Sprintf("%043d", i), At: moment}})
	}
	_, err := s.Commit(t.Context(), batch)
	must(t, err)
	s.db.mostRecent = 1
	_, err = s.Commit(t.Context(), batch[1:])
	must(t, err)
	if _, accounts, txt := rowsOf(t, s); accounts+txt != movedForEach*mostBrought {
		t.Errorf("%d rows were moved in one commit, want %d", accounts+txt, movedForEach*mostBrought)
	}
}

// mutation returns a change of an account that can be done.
func mutation(random *rand.Rand, m model, a registry.Account) registry.Mutation {
	entry, there := m[a.Username]
	values := entry.Values
	v := registry.Value{TXT: fmt.Sprintf("%043d", random.IntN(6)), At: time.Unix(1_800_000_000+int64(random.IntN(3)), 0)}
	switch n := random.IntN(34); {
	case n == 0: // perhaps of none
		return registry.SetNote{Username: a.Username, Note: fmt.Sprint("note ", random.IntN(100))}
	case n == 1:
		return registry.SetAllowFrom{Username: a.Username, AllowFrom: []string{fmt.Sprintf("192.0.2.%d/32", random.IntN(100))}}
	case n == 2:
		return registry.ReplacePassword{Username: a.Username, PasswordHash: fmt.Appendf(nil, "%032d", random.IntN(100))}
	case n == 3:
		return registry.MarkUsed{Username: a.Username, Updated: time.Unix(1_800_000_000+int64(random.IntN(100)), 0)}
	case !there && m.free(a.Subdomain):
		return registry.CreateAccount{Account: a}
	case !there: // who has the name goes, and it is free for another one
		for username, e := range m {
			if e.Subdomain == a.Subdomain {
				return registry.DeleteAccount{Username: username}
			}
		}
	case n == 4:
		return registry.DeleteAccount{Username: a.Username}
	case n < 12 && len(values) > 0:
		return registry.DropValue{Username: a.Username, Value: values[random.IntN(len(values))]}
	case n < 14: // perhaps at another time than it was set
		return registry.DropValue{Username: a.Username, Value: v}
	}
	return registry.PutValue{Username: a.Username, Value: v}
}

// exported reads a database as another process does.
func exported(t *testing.T, path string) model {
	t.Helper()
	r, err := OpenReader(t.Context(), path)
	must(t, err)
	defer r.Close()
	info, err := r.CopyTo(t.Context(), filepath.Join(t.TempDir(), "copy.db"), nil)
	must(t, err)
	m := model{}
	var last uuid.UUID
	must(t, r.Export(t.Context(), func(registry.State) error { return nil }, func(e *registry.Entry) error {
		if compareUUIDs(last, e.Username) >= 0 {
			t.Errorf("%v comes before %v", last, e.Username)
		}
		last = e.Username
		return m.note(e)
	}))
	if info.Accounts != len(m) {
		t.Errorf("a copy has %d accounts, an export %d", info.Accounts, len(m))
	}
	return m
}

// TestRecentIsBounded, also for one account whose values come and go.
func TestRecentIsBounded(t *testing.T) {
	t.Parallel()
	const bound = 200
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "cnamed.db"), Options{mostRecent: bound})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	a := newAccount()
	_, err = s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: a}})
	must(t, err)
	most := 0
	for i := range 4000 {
		v := func(i int) registry.Value { return registry.Value{TXT: fmt.Sprintf("%043d", i), At: moment} }
		_, err := s.Commit(t.Context(), []registry.Mutation{
			registry.PutValue{Username: a.Username, Value: v(i)}, registry.DropValue{Username: a.Username, Value: v(i - 2)},
		})
		must(t, err)
		waiting, _, txt := rowsOf(t, s)
		if waiting != s.db.recent.rows {
			t.Fatalf("%d rows wait, in memory %d", waiting, s.db.recent.rows)
		}
		most = max(most, waiting)
		if txt > bound {
			t.Fatalf("txt has %d values of an account that has two", txt)
		}
	}
	// While all are moved half as many come, and while they leave a sixteenth.
	if most <= bound || most > bound*13/8 {
		t.Errorf("up to %d rows waited, of a bound of %d", most, bound)
	}
}

// TestRefusedBatchSettlesNothing: what a transaction that came to nothing has moved
// is moved again by another.
func TestRefusedBatchSettlesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s, err := Open(t.Context(), path, Options{mostRecent: 1})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	addAccounts(t, s, 20)
	want := loaded(t, s)
	twice := newAccount()
	for range 5 {
		batch := []registry.Mutation{registry.CreateAccount{Account: twice}, registry.UseToken{ID: "none"}}
		for username := range want {
			batch = append([]registry.Mutation{registry.PutValue{Username: username, Value: registry.Value{TXT: txt('r'), At: moment}}}, batch...)
		}
		if _, err := s.Commit(t.Context(), batch); err == nil {
			t.Fatal("a token that is not there was used")
		}
	}
	want.want(t, "after refusals", loaded(t, s))
	settleAll(t, s)
	want.want(t, "settled", loaded(t, s))
}

// TestCompactChangesAreTheSame: what compact leaves does what all did, to any values.
func TestCompactChangesAreTheSame(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	some := func() (list []recentRow) {
		for i := range random.IntN(12) {
			list = append(list, recentRow{seq: int64(i + 1), kind: []kind{valueSet, valueDropped, valueGone}[random.IntN(3)],
				value: fmt.Sprint(random.IntN(3)), at: int64(random.IntN(2))})
		}
		return list
	}
	apply := func(to []valueRow, list []recentRow) []valueRow {
		values := make(map[string]valueRow)
		for _, v := range to {
			values[v.value.TXT] = v
		}
		for _, c := range list {
			c.applyTo(values)
		}
		to = slices.Collect(maps.Values(values))
		slices.SortFunc(to, func(a, b valueRow) int { return int(a.seq - b.seq) })
		return to
	}
	for range 20_000 {
		var before []valueRow
		for i := range random.IntN(4) {
			before = append(before, valueRow{seq: -int64(i), value: registry.Value{TXT: fmt.Sprint(i), At: time.Unix(int64(random.IntN(2)), 0)}})
		}
		list := some()
		want := apply(slices.Clone(before), list)
		less := compact(slices.Clone(list))
		if got := apply(slices.Clone(before), less); !slices.Equal(got, want) {
			t.Fatalf("%v after %v is %v; after %v, which is left of them, it is %v", before, list, want, less, got)
		}
		// And again, from any on: what is in txt already does no harm.
		from := random.IntN(len(list) + 1)
		if got := apply(slices.Clone(want), list[from:]); !slices.Equal(got, want) {
			t.Fatalf("%v, and %v once more: %v", want, list[from:], got)
		}
	}
}

// TestImportedAccountHasNoChangesOfADeletedOne: their rows may still be in recent.
func TestImportedAccountHasNoChangesOfADeletedOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	a := newAccount()
	value := func(b byte) registry.Value { return registry.Value{TXT: txt(b), At: moment} }
	for _, m := range []registry.Mutation{
		registry.CreateAccount{Account: a}, registry.PutValue{Username: a.Username, Value: value('a')}, registry.DeleteAccount{Username: a.Username},
	} {
		_, err := s.Commit(t.Context(), []registry.Mutation{m})
		must(t, err)
	}
	entry := registry.Entry{Account: a, Values: []registry.Value{value('b')}}
	_, err := s.Import(t.Context(), registry.Import{Entries: func(yield func(*registry.Entry, error) bool) { yield(&entry, nil) }})
	must(t, err)
	want := model{a.Username: entry}
	want.want(t, "imported", loaded(t, s))
	must(t, s.Close())
	s = open(t, path)
	want.want(t, "opened again", loaded(t, s))
	settleAll(t, s)
	want.want(t, "settled", loaded(t, s))
}
