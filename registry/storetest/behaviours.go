package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

func newStoreIsEmpty(h *harness) {
	l := h.load()
	if len(l.entries) != 0 || len(l.Challenges) != 0 {
		h.Errorf("a new store holds %v", l)
	}
	if now := uint64(time.Now().Unix()); l.Serial < now-3600 || l.Serial > now {
		h.Errorf("the serial %d is not the time of creation", l.Serial)
	}
}

func accountSurvivesReopen(h *harness) {
	plain, fancy, locked := account(), account(), account()
	fancy.Subdomain = "Typed_by.HAND"
	fancy.PasswordHash = []byte("$2a$10$abcdefghijklmnopqrstuv")
	fancy.AllowFrom = []string{"192.0.2.1/24", "::1/64"}
	locked.Locked = true
	h.commit(registry.CreateAccount{Account: plain}, registry.CreateAccount{Account: fancy},
		registry.CreateAccount{Account: locked})
	h.reopen()
	l := h.load()
	if len(l.entries) != 3 {
		h.Errorf("%d accounts, want 3", len(l.entries))
	}
	for _, want := range []registry.Account{plain, fancy, locked} {
		got := l.entries[want.Username]
		if got.Subdomain != want.Subdomain || !bytes.Equal(got.PasswordHash, want.PasswordHash) ||
			!slices.Equal(got.AllowFrom, want.AllowFrom) || got.Locked != want.Locked ||
			!got.Created.Equal(want.Created) || len(got.Values) != 0 {
			h.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

func valuesKeepOrder(h *harness) {
	a, b := account(), account()
	h.commit(registry.CreateAccount{Account: a}, registry.CreateAccount{Account: b}, put(a, 3), put(b, 1))
	h.commit(put(a, 1), put(a, 2)) // the clock went back
	h.reopen()
	h.wantValues(a.Username, value(3).TXT, value(1).TXT, value(2).TXT)
	h.wantValues(b.Username, value(1).TXT)
	if at := h.load().entries[a.Username].Values[0].At; !at.Equal(value(3).At) {
		h.Errorf("the time of the value is %v, want %v", at, value(3).At)
	}
}

func valueSetAgain(h *harness) {
	a := account()
	h.commit(registry.CreateAccount{Account: a}, put(a, 1), put(a, 2))
	again := put(a, 1)
	again.At = again.At.Add(time.Hour)
	h.commit(again)
	h.reopen()
	h.wantValues(a.Username, value(2).TXT, value(1).TXT)
	if at := h.load().entries[a.Username].Values[1].At; !at.Equal(again.At) {
		h.Errorf("the time of the value is %v, want %v", at, again.At)
	}
}

func dropSparesSetAgain(h *harness) {
	a := account()
	again := put(a, 2)
	again.At = again.At.Add(time.Second)
	h.commit(registry.CreateAccount{Account: a}, put(a, 1), put(a, 2), again)
	h.commit(registry.DropValue(put(a, 1)), registry.DropValue(put(a, 2)), registry.DropValue(put(a, 9)))
	h.reopen()
	h.wantValues(a.Username, value(2).TXT)
}

func serialRises(h *harness) {
	a := account()
	last := h.load().Serial
	for _, step := range []struct {
		batch []registry.Mutation
		rise  uint64
	}{
		{[]registry.Mutation{registry.CreateAccount{Account: a}}, 1},
		{[]registry.Mutation{registry.Probe{At: moment}}, 0},
		{[]registry.Mutation{put(a, 1), put(a, 2), registry.Probe{At: moment}}, 1},
		{[]registry.Mutation{registry.ReplacePassword{Username: a.Username, PasswordHash: a.PasswordHash}}, 0},
		{[]registry.Mutation{registry.DropValue(put(a, 1))}, 1},
		{[]registry.Mutation{registry.SetChallenges{Values: []string{value(1).TXT}}}, 1},
	} {
		got := h.commit(step.batch...)
		if got != last+step.rise {
			h.Errorf("after %T the serial is %d, want %d", step.batch[0], got, last+step.rise)
		}
		last = got
	}
	h.reopen()
	if got := h.load().Serial; got != last {
		h.Errorf("after a reopen the serial is %d, want %d", got, last)
	}
}

func challengesAreReplaced(h *harness) {
	for _, want := range [][]string{{value(1).TXT, value(2).TXT, value(3).TXT}, {value(2).TXT}, nil} {
		h.commit(registry.SetChallenges{Values: want})
		h.reopen()
		if got := h.load().Challenges; !slices.Equal(got, want) {
			h.Errorf("challenges are %q, want %q", got, want)
		}
	}
}

func recordsAreNoted(h *harness) {
	for _, want := range []string{"one", "another"} {
		before := h.load().Serial
		h.commit(registry.SetRecords{Fingerprint: want})
		h.reopen()
		if got := h.load(); got.Records != want || got.Serial != before+1 {
			h.Errorf("records are %q at serial %d, want %q at %d", got.Records, got.Serial, want, before+1)
		}
	}
}

func passwordIsReplaced(h *harness) {
	a, other := account(), account()
	hash := []byte(strings.Repeat("n", 32))
	h.commit(registry.CreateAccount{Account: a}, registry.CreateAccount{Account: other})
	h.commit(registry.ReplacePassword{Username: a.Username, PasswordHash: hash},
		registry.ReplacePassword{Username: uuid.New(), PasswordHash: hash})
	h.reopen()
	l := h.load()
	if got := l.entries[a.Username].PasswordHash; !bytes.Equal(got, hash) {
		h.Errorf("the hash is %q", got)
	}
	if got := l.entries[other.Username].PasswordHash; !bytes.Equal(got, other.PasswordHash) {
		h.Errorf("the hash of another account is %q", got)
	}
}

func sameUsername(h *harness) {
	h.onlyShared()
	a, b := account(), account()
	b.Username = a.Username
	h.commit(registry.CreateAccount{Account: a})
	h.wantRefused(0, registry.ErrExists, registry.CreateAccount{Account: b})
}

func sameSubdomain(h *harness) {
	h.onlyShared()
	a, b := account(), account()
	a.Subdomain, b.Subdomain = "myHost", "MYhost"
	h.wantRefused(2, registry.ErrExists, registry.Probe{At: moment},
		registry.CreateAccount{Account: a}, registry.CreateAccount{Account: b})
}

func valueOfNoAccount(h *harness) {
	h.onlyShared()
	a, stranger := account(), account()
	h.commit(registry.CreateAccount{Account: a})
	h.wantRefused(1, registry.ErrNotFound, put(a, 1), put(stranger, 1))
}

func refusedBatch(h *harness) {
	a, b := account(), account()
	h.commit(registry.CreateAccount{Account: a}, put(a, 1))
	before := h.load()
	h.wantRefused(2, registry.ErrNotFound, registry.CreateAccount{Account: b}, put(a, 2), registry.UseToken{ID: "none"})
	after := h.load()
	if after.Serial != before.Serial || len(after.entries) != 1 {
		h.Errorf("a refused batch left %v", after)
	}
	h.wantValues(a.Username, value(1).TXT)
	// The store is well.
	h.commit(registry.CreateAccount{Account: b}, put(a, 2))
	h.wantValues(a.Username, value(1).TXT, value(2).TXT)
}

type strangeMutation struct{ registry.Probe }

func unknownMutation(h *harness) {
	a := account()
	_, err := h.store.Commit(context.Background(),
		[]registry.Mutation{registry.CreateAccount{Account: a}, strangeMutation{}})
	if !errors.Is(err, registry.ErrStore) {
		h.Errorf("commit: %v", err)
	}
	if n := len(h.load().entries); n != 0 {
		h.Errorf("%d accounts were stored", n)
	}
}

func loadStops(h *harness) {
	h.commit(registry.CreateAccount{Account: account()}, registry.CreateAccount{Account: account()})
	stop, calls := errors.New("stop"), 0
	_, err := h.store.Load(context.Background(), func(*registry.Entry) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		h.Errorf("load: %v after %d calls", err, calls)
	}
	h.load() // it works again
}

func commitIgnoresContext(h *harness) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a := account()
	_, err := h.store.Commit(ctx, []registry.Mutation{registry.CreateAccount{Account: a}})
	// Either is right, if it is true.
	if _, there := h.load().entries[a.Username]; there != (err == nil) {
		h.Errorf("commit: %v, but stored: %v", err, there)
	}
}

func largeBatch(h *harness) {
	const n = 2000
	batch := make([]registry.Mutation, 0, 3*n)
	for range n {
		a := account()
		batch = append(batch, registry.CreateAccount{Account: a}, put(a, 1), put(a, 2))
	}
	h.commit(batch...)
	h.reopen()
	l := h.load()
	for username := range l.entries {
		if !slices.Equal(l.values(username), []string{value(1).TXT, value(2).TXT}) {
			h.Fatalf("values are %q", l.values(username))
		}
	}
	if len(l.entries) != n {
		h.Errorf("%d accounts, want %d", len(l.entries), n)
	}
}

func closedStore(h *harness) {
	h.commit(registry.Probe{At: moment})
	store := h.store
	h.close()
	ctx := context.Background()
	_, commitErr := store.Commit(ctx, []registry.Mutation{registry.Probe{At: moment}})
	_, loadErr := store.Load(ctx, func(*registry.Entry) error { return nil })
	_, recoverErr := store.Recover(ctx)
	_, importErr := store.Import(ctx, registry.Import{Entries: yield(nil)})
	for name, err := range map[string]error{"Commit": commitErr, "Load": loadErr, "Recover": recoverErr, "Import": importErr} {
		if !errors.Is(err, registry.ErrStore) {
			h.Errorf("%s after Close: %v", name, err)
		}
	}
}
