package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// history changes an index at random and remembers what it served at each serial.
type history struct {
	*model
	r     *Registry
	names []string
	users []uuid.UUID

	mu     sync.Mutex
	states map[uint32]map[string]string // values by label, of those that have some
}

func newHistory(seed uint64, keep int) *history {
	h := &history{
		model:  &model{users: map[uuid.UUID]*modelAccount{}, rng: rand.New(rand.NewPCG(seed, 7))},
		r:      new(Registry),
		states: map[uint32]map[string]string{0: {}},
	}
	x := newIndex()
	x.journal.keep = keep
	h.r.index.Store(x)
	for i := range 60 {
		h.users = append(h.users, uuid.New())
		h.names = append(h.names, uuid.NewString())
		if i%5 == 0 {
			h.names[i] = fmt.Sprintf("Typed.By-Hand-%d", i)
		}
	}
	return h
}

// write applies a batch, and remembers the state before anybody can see it.
func (h *history) write(t *testing.T) {
	t.Helper()
	var batch []Mutation
	for range 1 + h.rng.IntN(4) {
		batch = append(batch, h.step(h.names, h.users)...)
	}
	x := h.r.index.Load()
	serial := x.serial.Load()
	own := *x.own.Load()
	if h.rng.IntN(20) == 0 {
		own = []string{fmt.Sprintf("%043d", h.rng.IntN(9))}
		batch = append(batch, SetChallenges{own})
	}
	for _, m := range batch {
		if m.ChangesZone() {
			serial++
			break
		}
	}
	state := make(map[string]string)
	for _, a := range h.model.users {
		if len(a.values) > 0 {
			state[lowerASCII(a.Subdomain)] = string(appendOwn(nil, a.values))
		}
	}
	if len(own) > 0 {
		state[OwnLabel] = string(appendOwn(nil, own))
	}
	h.mu.Lock()
	h.states[uint32(serial)] = state
	h.mu.Unlock()
	if err := x.applyAll(batch, serial); err != nil {
		t.Fatal(err)
	}
}

func (h *history) state(serial uint32) map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[serial]
}

// wantSnapshot takes a snapshot and compares it. during is called while it is
// being read.
func (h *history) wantSnapshot(t *testing.T, during func()) {
	t.Helper()
	var serial uint32
	got := make(map[string]string)
	err := h.r.Snapshot(t.Context(), func(s uint32) error { serial = s; during(); return nil },
		func(label, values []byte) error {
			if _, twice := got[string(label)]; twice {
				t.Errorf("%s is there twice", label)
			}
			got[string(label)] = string(values)
			during()
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if want := h.state(serial); !maps.Equal(got, want) {
		t.Fatalf("at %d:\n%q\nwant\n%q", serial, got, want)
	}
}

func TestSnapshotIsOfOneMoment(t *testing.T) {
	t.Parallel()
	h := newHistory(1, 0)
	for range 300 {
		h.wantSnapshot(t, func() {
			for range h.rng.IntN(3) {
				h.write(t)
			}
		})
	}
	if n := len(h.r.index.Load().journal.snapshots); n != 0 {
		t.Errorf("%d snapshots are left", n)
	}
}

func TestSnapshotBesideWriters(t *testing.T) {
	t.Parallel()
	h := newHistory(2, 100)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					h.wantSnapshot(t, func() {})
				}
			}
		})
	}
	for range 3000 {
		h.write(t)
	}
	close(stop)
	readers.Wait()
}

func TestSnapshotEnds(t *testing.T) {
	t.Parallel()
	h := newHistory(3, 0)
	for range 200 {
		h.write(t)
	}
	nothing := func(uint32) error { return nil }
	full := errors.New("full")
	if err := h.r.Snapshot(t.Context(), nothing, func(_, _ []byte) error { return full }); !errors.Is(err, full) {
		t.Errorf("the error of each: %v", err)
	}
	if err := h.r.Snapshot(t.Context(), func(uint32) error { return full }, nil); !errors.Is(err, full) {
		t.Errorf("the error of begin: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := h.r.Snapshot(ctx, nothing, func(_, _ []byte) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
}

// TestChangesLeadToNow holds for every serial: what was served then, and what
// Changes says, give what is served now; or it is said that the serial is not
// known, and then it is older than the bound explains.
func TestChangesLeadToNow(t *testing.T) {
	t.Parallel()
	const keep = 100
	h := newHistory(4, keep)
	for range 2000 {
		h.write(t)
		x := h.r.index.Load()
		if h.rng.IntN(10) > 0 {
			continue
		}
		newest := uint32(x.serial.Load())
		for back := range min(newest, 2*keep) {
			since := newest - back
			got := maps.Clone(h.state(since))
			now, known, err := h.r.Changes(since, func(label string, before, after []byte) {
				if got[label] != string(before) {
					t.Errorf("before, %s had %q, want %q", label, before, got[label])
				}
				got[label] = string(after)
				if len(after) == 0 {
					delete(got, label)
				}
			})
			if now != newest || err != nil {
				t.Fatalf("now is %d, want %d; %v", now, newest, err)
			}
			if !known {
				if back < keep/8 {
					t.Fatalf("%d of %d is not known", since, newest)
				}
				break
			}
			if want := h.state(newest); !maps.Equal(got, want) {
				t.Fatalf("from %d:\n%q\nwant\n%q", since, got, want)
			}
		}
		if j := &x.journal; j.size > keep || len(j.steps) > keep {
			t.Fatalf("%d names in %d steps are kept", j.size, len(j.steps))
		}
	}
	if _, known, _ := h.r.Changes(1<<31, nil); known {
		t.Error("a serial that never was is known")
	}
}

func TestNothingIsRememberedWithoutAJournal(t *testing.T) {
	t.Parallel()
	h := newHistory(5, 0)
	for range 20 {
		h.write(t)
	}
	if n := len(h.r.index.Load().journal.steps); n != 0 {
		t.Errorf("%d steps", n)
	}
}

func TestChangedWakes(t *testing.T) {
	t.Parallel()
	s := &fakeStore{}
	r := openFake(t, s, Options{Journal: 10})
	changed := r.Changed()
	if err := r.probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.SetChallenges(t.Context(), []string{fmt.Sprintf("%043d", 1)}); err != nil {
		t.Fatal(err)
	}
	<-changed
	changed = r.Changed()
	select {
	case <-changed:
		t.Error("closed before the next change")
	default:
	}
	if err := r.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-changed // an index was loaded in the place of the one that was waited for
}
