package sqlite

import (
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

// settleAll moves all changes into txt.
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

// valuesOf returns the values of all accounts, in the order of arrival.
func valuesOf(t *testing.T, s *Store) map[uuid.UUID][]registry.Value {
	t.Helper()
	all := make(map[uuid.UUID][]registry.Value)
	if _, err := s.Load(t.Context(), func(e *registry.Entry) error {
		all[e.Username] = slices.Clone(e.Values)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// tables counts the rows of recent and of txt.
func tables(t *testing.T, s *Store) (recent, txt int) {
	t.Helper()
	err := s.db.conn.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM recent), (SELECT count(*) FROM txt)`).Scan(&recent, &txt)
	if err != nil {
		t.Fatal(err)
	}
	return recent, txt
}

// model is what accounts have after mutations.
type model map[uuid.UUID][]registry.Value

func (m model) apply(mutation registry.Mutation) {
	switch c := mutation.(type) {
	case registry.CreateAccount:
		m[c.Username] = nil
	case registry.DeleteAccount:
		delete(m, c.Username)
	case registry.PutValue:
		m[c.Username] = append(slices.DeleteFunc(m[c.Username], func(v registry.Value) bool { return v.TXT == c.TXT }), c.Value)
	case registry.DropValue:
		m[c.Username] = slices.DeleteFunc(m[c.Username], func(v registry.Value) bool { return v.TXT == c.TXT && v.At.Equal(c.At) })
	}
}

func (m model) want(t *testing.T, what string, got map[uuid.UUID][]registry.Value) {
	t.Helper()
	if len(got) != len(m) {
		t.Fatalf("%s: %d accounts, want %d", what, len(got), len(m))
	}
	for username, want := range m {
		if !slices.EqualFunc(got[username], want, func(a, b registry.Value) bool { return a.TXT == b.TXT && a.At.Equal(b.At) }) {
			t.Fatalf("%s: the values of %v are %v, want %v", what, username, got[username], want)
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
			var accounts []registry.Account
			for range 5 {
				accounts = append(accounts, newAccount())
			}
			m := model{}
			moved := false
			for round := range 400 {
				var batch []registry.Mutation
				for range random.IntN(12) {
					c := mutation(random, m, accounts[random.IntN(len(accounts))])
					m.apply(c)
					batch = append(batch, c)
				}
				if len(batch) == 0 {
					batch = []registry.Mutation{registry.Probe{At: moment}}
				}
				_, err := s.Commit(t.Context(), batch)
				must(t, err)
				moved = moved || len(s.db.recent.moving) > 0
				switch random.IntN(20) {
				case 0:
					m.want(t, "loaded", valuesOf(t, s))
				case 1:
					m.want(t, "exported", exported(t, path))
				case 2: // whose memory ends in the midst of it
					must(t, s.Close())
					s, err = Open(t.Context(), path, opts)
					must(t, err)
					m.want(t, fmt.Sprintf("opened again in round %d", round), valuesOf(t, s))
				case 3:
					m.want(t, fmt.Sprintf("killed in round %d", round), valuesOf(t, killed(t, path)))
				}
			}
			settleAll(t, s)
			m.want(t, "settled", valuesOf(t, s))
			want := 0
			for _, values := range m {
				want += len(values)
			}
			if recent, txt := tables(t, s); recent != 0 || txt != want || !moved {
				t.Errorf("recent has %d rows and txt %d, want 0 and %d; changes were seen on their way: %v", recent, txt, want, moved)
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
	if _, settled := tables(t, s); settled != movedForEach*mostBrought {
		t.Errorf("%d changes were moved in one commit, want %d", settled, movedForEach*mostBrought)
	}
}

// mutation returns a change of an account that can be done.
func mutation(random *rand.Rand, m model, a registry.Account) registry.Mutation {
	values, there := m[a.Username]
	v := registry.Value{TXT: fmt.Sprintf("%043d", random.IntN(6)), At: time.Unix(1_800_000_000+int64(random.IntN(3)), 0)}
	switch n := random.IntN(30); {
	case !there:
		return registry.CreateAccount{Account: a}
	case n == 0:
		return registry.DeleteAccount{Username: a.Username}
	case n < 8 && len(values) > 0:
		return registry.DropValue{Username: a.Username, Value: values[random.IntN(len(values))]}
	case n < 10: // perhaps at another time than it was set
		return registry.DropValue{Username: a.Username, Value: v}
	}
	return registry.PutValue{Username: a.Username, Value: v}
}

// exported reads a database as another process does.
func exported(t *testing.T, path string) map[uuid.UUID][]registry.Value {
	t.Helper()
	r, err := OpenReader(t.Context(), path)
	must(t, err)
	defer r.Close()
	all := make(map[uuid.UUID][]registry.Value)
	must(t, r.Export(t.Context(), func(registry.State) error { return nil }, func(e *registry.Entry) error {
		all[e.Username] = slices.Clone(e.Values)
		return nil
	}))
	return all
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
		recent, txt := tables(t, s)
		if recent != s.db.recent.rows {
			t.Fatalf("recent has %d rows, in memory %d", recent, s.db.recent.rows)
		}
		most = max(most, recent)
		if txt > bound {
			t.Fatalf("txt has %d values of an account that has two", txt)
		}
	}
	if most <= bound || most > 2*bound {
		t.Errorf("recent had up to %d rows, of a bound of %d", most, bound)
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
	want := valuesOf(t, s)
	twice := newAccount()
	for range 5 {
		batch := []registry.Mutation{registry.CreateAccount{Account: twice}, registry.CreateAccount{Account: twice}}
		for username := range want {
			batch = append([]registry.Mutation{registry.PutValue{Username: username, Value: registry.Value{TXT: txt('r'), At: moment}}}, batch...)
		}
		if _, err := s.Commit(t.Context(), batch); err == nil {
			t.Fatal("two accounts with one name")
		}
	}
	model(want).want(t, "after refusals", valuesOf(t, s))
	settleAll(t, s)
	model(want).want(t, "settled", valuesOf(t, s))
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
	want := model{a.Username: entry.Values}
	want.want(t, "imported", valuesOf(t, s))
	must(t, s.Close())
	s = open(t, path)
	want.want(t, "opened again", valuesOf(t, s))
	settleAll(t, s)
	want.want(t, "settled", valuesOf(t, s))
}
