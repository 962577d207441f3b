package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/google/uuid"

	"cnamed/registry"
)

// entry is an account with the values of the given numbers, the oldest first.
func entry(a registry.Account, values ...int) registry.Entry {
	e := registry.Entry{Account: a}
	for _, i := range values {
		e.Values = append(e.Values, value(i))
	}
	return e
}

// yield gives the entries, and then err if there is one.
func yield(err error, entries ...registry.Entry) iter.Seq2[*registry.Entry, error] {
	return func(yield func(*registry.Entry, error) bool) {
		for i := range entries {
			if !yield(&entries[i], nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// importAll imports, and returns what was said to be taken as "new/stored", by
// subdomain and values.
func (h *harness) importAll(entries ...registry.Entry) (taken []string) {
	h.Helper()
	_, err := h.store.Import(context.Background(), registry.Import{
		Entries: yield(nil, entries...),
		Taken: func(entry, stored *registry.Entry) error {
			taken = append(taken, fmt.Sprintf("%s/%s:%d", entry.Subdomain, stored.Subdomain, len(stored.Values)))
			return nil
		},
	})
	if err != nil {
		h.Fatalf("importing: %v", err)
	}
	return taken
}

func importIsStored(h *harness) {
	old, a, b := account(), account(), account()
	h.commit(registry.CreateAccount{Account: old}, put(old, 9))
	before := h.load().Serial
	a.Subdomain, a.PasswordHash, a.AllowFrom = "Typed-By-Hand", []byte("$2a$10$abcdefghijklmnopqrstuv"), []string{"192.0.2.1/24"}
	b.Locked = true
	if taken := h.importAll(entry(a, 2, 1), entry(b)); taken != nil {
		h.Errorf("taken: %v", taken)
	}
	h.commit(put(a, 3)) // is newer than what was imported
	h.reopen()
	l := h.load()
	if l.Serial != before+2 || len(l.entries) != 3 || !l.entries[b.Username].Locked {
		h.Errorf("from serial %d to %v", before, l)
	}
	if got := l.entries[a.Username]; got.Subdomain != a.Subdomain || string(got.PasswordHash) != string(a.PasswordHash) ||
		!slices.Equal(got.AllowFrom, a.AllowFrom) || !got.Created.Equal(a.Created) {
		h.Errorf("got  %+v\nwant %+v", got, a)
	}
	h.wantValues(a.Username, value(2).TXT, value(1).TXT, value(3).TXT)
	h.wantValues(old.Username, value(9).TXT)
}

func importLeavesTaken(h *harness) {
	a, b := account(), account()
	a.Subdomain, b.Subdomain = "name-a", "name-b"
	h.commit(registry.CreateAccount{Account: a}, registry.CreateAccount{Account: b}, put(a, 1))

	again := a
	again.PasswordHash = []byte("$2a$10$abcdefghijklmnopqrstuv")
	twin, both, fresh := account(), a, account()
	twin.Subdomain = "NAME-A"
	both.Subdomain = "name-b" // the username counts
	fresh.Subdomain = "fresh"
	later := account()
	later.Subdomain = "FRESH"
	got := h.importAll(entry(again, 5), entry(twin, 6), entry(both), entry(fresh, 7), entry(later))
	want := []string{"name-a/name-a:1", "NAME-A/name-a:1", "name-b/name-a:1", "FRESH/fresh:1"}
	if !slices.Equal(got, want) {
		h.Errorf("taken: %v, want %v", got, want)
	}
	h.reopen()
	l := h.load()
	if len(l.entries) != 3 || string(l.entries[a.Username].PasswordHash) != string(a.PasswordHash) {
		h.Errorf("holds %v", l)
	}
	h.wantValues(a.Username, value(1).TXT)
	h.wantValues(fresh.Username, value(7).TXT)
}

func importGivesNoRetiredName(h *harness) {
	gone, a, b := account(), account(), account()
	h.commit(registry.RetireName{Name: "gone"})
	gone.Subdomain = "Gone"
	var refused []string
	_, err := h.store.Import(context.Background(), registry.Import{
		Entries: yield(nil, entry(a), entry(gone, 1), entry(b)),
		Taken: func(entry, stored *registry.Entry) error {
			refused = append(refused, fmt.Sprint(entry.Subdomain, stored))
			return nil
		},
	})
	if err != nil || !slices.Equal(refused, []string{fmt.Sprint("Gone", (*registry.Entry)(nil))}) {
		h.Errorf("refused %q, %v", refused, err)
	}
	if l := h.load(); len(l.entries) != 2 {
		h.Errorf("holds %v", l)
	}
}

func importOfNothingNew(h *harness) {
	a := account()
	h.commit(registry.CreateAccount{Account: a})
	before := h.load().Serial
	c, err := h.store.Import(context.Background(), registry.Import{
		Entries: yield(nil, entry(a)), Taken: func(_, _ *registry.Entry) error { return nil }})
	if err != nil || c.Serial != before || h.load().Serial != before {
		h.Errorf("serial %d, %v; want %d", c.Serial, err, before)
	}
}

func importIsAllOrNothing(h *harness) {
	stop := errors.New("stop")
	old := account()
	h.commit(registry.CreateAccount{Account: old}, put(old, 1))
	before := h.load().Serial
	ended, end := context.WithCancel(context.Background())
	end()
	pass := func(_, _ *registry.Entry) error { return nil }
	for name, test := range map[string]struct {
		ctx   context.Context
		err   error // of the entries
		taken func(_, _ *registry.Entry) error
		want  error
	}{
		"entries": {context.Background(), stop, pass, stop},
		"taken":   {context.Background(), nil, func(_, _ *registry.Entry) error { return stop }, stop},
		"context": {ended, nil, pass, context.Canceled},
	} {
		_, err := h.store.Import(test.ctx, registry.Import{
			Entries: yield(test.err, entry(account(), 1, 2), entry(old)), Taken: test.taken})
		if !errors.Is(err, test.want) {
			h.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if l := h.load(); len(l.entries) != 1 || l.Serial != before {
			h.Errorf("%s: left %v", name, l)
		}
	}
	// The store is well.
	a := account()
	h.importAll(entry(a, 1))
	h.commit(put(a, 2), put(old, 2))
	h.wantValues(a.Username, value(1).TXT, value(2).TXT)
}

func largeImport(h *harness) {
	const n = 5000
	usernames := make(map[uuid.UUID]bool, n)
	_, err := h.store.Import(context.Background(), registry.Import{Entries: func(yield func(*registry.Entry, error) bool) {
		// The entry is the same memory each time.
		var e registry.Entry
		for range n {
			e = entry(account(), 1, 2)
			usernames[e.Username] = true
			if !yield(&e, nil) {
				return
			}
		}
	}, Taken: func(entry, _ *registry.Entry) error { return fmt.Errorf("%s is taken", entry.Subdomain) }})
	if err != nil {
		h.Fatal(err)
	}
	h.reopen()
	l := h.load()
	for username := range usernames {
		if !slices.Equal(l.values(username), []string{value(1).TXT, value(2).TXT}) {
			h.Fatalf("values are %q", l.values(username))
		}
	}
	if len(l.entries) != n {
		h.Errorf("%d accounts, want %d", len(l.entries), n)
	}
}

func importTakesTheRest(h *harness) {
	old, fresh, twin := token("old"), token("fresh"), token("twin")
	twin.Hash = fresh.Hash
	fresh.MaxUses, fresh.Uses, fresh.LastUsed, fresh.Expires = 5, 2, moment, moment
	h.commit(registry.CreateToken{Token: old}, registry.RetireName{Name: "gone"})
	before := h.load().Serial
	what := registry.Import{Tokens: []registry.Token{old, fresh, twin}, Retired: []string{"GONE", "left"}}
	for i, want := range [][]string{{"old", "twin"}, {"old", "fresh", "twin"}} {
		var taken []string
		what.TokenTaken = func(t registry.Token) { taken = append(taken, t.ID) }
		c, err := h.store.Import(context.Background(), what)
		if err != nil || !slices.Equal(taken, want) || c.Serial != before {
			h.Fatalf("import %d: taken %q, serial %d of %d, %v", i, taken, c.Serial, before, err)
		}
	}
	h.commit(registry.Probe{At: moment}) // the store is well
	h.reopen()
	h.wantTokens(fresh, old)
	l := h.load()
	if slices.Sort(l.Retired); !slices.Equal(l.Retired, []string{"gone", "left"}) {
		h.Errorf("retired are %q", l.Retired)
	}
}

func importRaisesSerial(h *harness) {
	before := h.load().Serial
	a := account()
	for _, test := range []struct {
		serial, want uint64
		entries      []registry.Entry
	}{
		{before - 10, before, nil},
		{before + 100, before + 101, nil},
		{before + 100, before + 101, nil}, // again
		{before + 101, before + 102, []registry.Entry{entry(a, 1)}},
		{before, before + 103, []registry.Entry{entry(account(), 2)}},
	} {
		c, err := h.store.Import(context.Background(), registry.Import{Serial: test.serial, Entries: yield(nil, test.entries...)})
		if err != nil || c.Serial != test.want {
			h.Fatalf("with serial %d: %d, %v; want %d", test.serial, c.Serial, err, test.want)
		}
	}
	if got := h.commit(put(a, 3)); got != before+104 {
		h.Errorf("a commit afterwards has serial %d, want %d", got, before+104)
	}
}
