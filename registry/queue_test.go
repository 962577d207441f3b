package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gate makes commits wait for the test.
type gate struct {
	entered, leave chan struct{}
}

func newGate(s *fakeStore) *gate {
	g := &gate{entered: make(chan struct{}), leave: make(chan struct{})}
	s.onCommit = func([]Mutation) error {
		g.entered <- struct{}{}
		<-g.leave
		return nil
	}
	return g
}

func (g *gate) pass() { <-g.entered; g.leave <- struct{}{} }

func TestWritesThatWaitShareACommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		g := newGate(s)
		var wg sync.WaitGroup
		register := func() {
			if _, err := r.Register(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
		wg.Go(register)
		<-g.entered
		for range 100 {
			wg.Go(register)
		}
		synctest.Wait() // all wait for the first
		g.leave <- struct{}{}
		g.pass()
		wg.Wait()
		if n, _ := s.counts(); n != 2 || len(s.commits[1]) != 100 {
			t.Errorf("%d commits", n)
		}
	})
}

func TestFullQueueRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		g := newGate(s)
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.probe(t.Context()) })
		<-g.entered
		for range maxWaiting {
			wg.Go(func() {
				if err := r.probe(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if _, err := r.Register(t.Context(), nil); !errors.Is(err, ErrOverloaded) {
			t.Errorf("register: %v", err)
		}
		g.leave <- struct{}{}
		for range maxWaiting / maxBatch {
			g.pass()
		}
		wg.Wait()
	})
}

func TestCallerMayStopWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		g := newGate(s)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := r.probe(t.Context()); err != nil {
				t.Error(err)
			}
		})
		<-g.entered
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			wg.Go(func() {
				if _, err := r.Register(ctx, nil); !errors.Is(err, context.Canceled) {
					t.Errorf("register: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		g.leave <- struct{}{}
		// What was queued is committed, although nobody waits for it.
		g.pass()
		wg.Wait()
		synctest.Wait()
		if r.Len() != 3 {
			t.Errorf("%d accounts, want 3", r.Len())
		}
		s.onCommit = nil
		if err := r.probe(t.Context()); err != nil {
			t.Errorf("the queue is stuck: %v", err)
		}
	})
}

func TestPanicOfAStoreLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		g := newGate(s)
		enter := s.onCommit
		s.onCommit = func(b []Mutation) error {
			s.onCommit = enter
			_ = enter(b)
			panic("broken")
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := r.probe(t.Context()); !errors.Is(err, ErrStore) {
				t.Errorf("the write that panicked: %v", err)
			}
		})
		<-g.entered
		wg.Go(func() {
			// Nobody knows what the store did: it has to be loaded first.
			if err := r.probe(t.Context()); !errors.Is(err, ErrStore) {
				t.Errorf("the write after: %v", err)
			}
		})
		synctest.Wait()
		g.leave <- struct{}{}
		wg.Wait()
		time.Sleep(firstPause)
		wg.Go(g.pass)
		if err := r.probe(t.Context()); err != nil {
			t.Errorf("a second later: %v", err)
		}
		wg.Wait()
	})
}

func TestCloseDecidesAllWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		g := newGate(s)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := r.probe(t.Context()); err != nil {
				t.Errorf("the write under way: %v", err)
			}
		})
		<-g.entered
		wg.Go(func() {
			if err := r.probe(t.Context()); !errors.Is(err, ErrClosed) {
				t.Errorf("the write that waits: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if err := r.probe(t.Context()); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrStore) {
			t.Errorf("a later write: %v", err)
		}
		g.leave <- struct{}{}
		wg.Wait()
		if n, _ := s.counts(); n != 1 {
			t.Errorf("%d commits", n)
		}
	})
}

func TestRefusedMutationFailsItsWriteAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		g := newGate(s)
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.probe(t.Context()) })
		<-g.entered
		for i := range 10 {
			wg.Go(func() {
				var allowFrom []string
				if i%4 == 3 { // two of them
					allowFrom = []string{"192.0.2.0/24"}
				}
				_, err := r.Register(t.Context(), allowFrom)
				if refused := errors.Is(err, ErrExists); refused != (allowFrom != nil) {
					t.Errorf("register %d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		s.onCommit = func(b []Mutation) error {
			for i, m := range b {
				if len(m.(CreateAccount).AllowFrom) > 0 {
					return &MutationError{Index: i, Err: ErrExists}
				}
			}
			return nil
		}
		g.leave <- struct{}{}
		wg.Wait()
		if r.Len() != 8 {
			t.Errorf("%d accounts, want 8", r.Len())
		}
	})
}

func TestUpdatesOfOneBatchSeeEachOther(t *testing.T) {
	t.Parallel()
	e := newEntry()
	s := &fakeStore{entries: []Entry{e}}
	r := openFake(t, s, Options{MaxValues: 3})
	err := r.queue.do(t.Context(), func(b *batch) error {
		for _, c := range "abcdcb" {
			if err := b.put(e.Username, toTXT(strings.Repeat(string(c), 43))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, _, _ := Served(r, e.Subdomain)
	if len(got) != 3 || got[0][0] != 'b' || got[1][0] != 'c' || got[2][0] != 'd' {
		t.Errorf("served %q", got)
	}
}

func TestServeRecoversByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := r.Serve(ctx); err != nil {
				t.Error(err)
			}
		})
		var broken sync.Mutex
		bad := true
		s.onCommit = func([]Mutation) error {
			broken.Lock()
			defer broken.Unlock()
			if bad {
				return ErrStore
			}
			return nil
		}
		if _, err := r.Register(ctx, nil); !errors.Is(err, ErrStore) {
			t.Errorf("register: %v", err)
		}
		time.Sleep(10 * time.Minute) // of the bubble: it takes no time
		if err := r.Check(ctx); !errors.Is(err, ErrStore) {
			t.Errorf("check: %v", err)
		}
		// 1, 3, 7, 15, 31 seconds, and then every 30.
		if _, n := s.counts(); n < 20 || n > 26 {
			t.Errorf("%d recoveries in ten minutes", n)
		}
		broken.Lock()
		bad = false
		broken.Unlock()
		time.Sleep(lastPause)
		if err := r.Check(ctx); err != nil {
			t.Errorf("check: %v", err)
		}
		_, before := s.counts()
		time.Sleep(time.Hour)
		if _, n := s.counts(); n != before {
			t.Errorf("%d recoveries of a store that is well", n-before)
		}
		cancel()
		wg.Wait()
	})
}

func TestReloadReplacesTheIndex(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, fresh := newEntry(), newEntry()
		s := &fakeStore{entries: []Entry{old}, serial: 7}
		r := openFake(t, s, Options{})
		s.onCommit = func([]Mutation) error { return ErrStore }
		_ = r.probe(t.Context())
		s.onCommit, s.reload, s.entries, s.serial = nil, true, []Entry{fresh}, 70
		time.Sleep(firstPause)
		if err := r.Check(t.Context()); err != nil {
			t.Error(err)
		}
		_, oldExists, _ := Served(r, old.Subdomain)
		_, freshExists, _ := Served(r, fresh.Subdomain)
		if oldExists || !freshExists || r.Serial() < 70 {
			t.Errorf("old %v, fresh %v, serial %d", oldExists, freshExists, r.Serial())
		}
	})
}

func TestCheckWritesOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		for range 10 {
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if err := r.Check(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			time.Sleep(time.Second)
		}
		if n, _ := s.counts(); n != 10 {
			t.Errorf("%d writes for 500 checks in ten seconds", n)
		}
	})
}

func TestRefusedWritesAreNoSignOfHealth(t *testing.T) {
	t.Parallel()
	s := &fakeStore{onCommit: func([]Mutation) error { return ErrStore }}
	r := openFake(t, s, Options{})
	_ = r.probe(t.Context())
	err := r.queue.do(t.Context(), func(*batch) error { return ErrForbidden })
	if !errors.Is(err, ErrForbidden) {
		t.Error(err)
	}
	if err := r.Check(t.Context()); !errors.Is(err, ErrStore) {
		t.Errorf("check: %v", err)
	}
}

func TestServeRemovesOldValues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntry()
		now := time.Now()
		for _, c := range "abcd" {
			e.Values = append(e.Values, Value{strings.Repeat(string(c), 43), now})
		}
		r := openFake(t, &fakeStore{entries: []Entry{e}}, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.Serve(ctx) })
		time.Sleep(DefaultRetention - time.Second)
		if got, _, _ := Served(r, e.Subdomain); len(got) != 4 || got[0][0] != 'd' {
			t.Errorf("before the retention: %q", got)
		}
		time.Sleep(2 * time.Minute)
		if got, _, _ := Served(r, e.Subdomain); len(got) != 2 || got[0][0] != 'd' || got[1][0] != 'c' {
			t.Errorf("after the retention: %q", got)
		}
		cancel()
		wg.Wait()
	})
}

// TestSweepIsDoneInParts: others wait for each of its commits, however many values
// there are of an account.
func TestSweepIsDoneInParts(t *testing.T) {
	t.Parallel()
	const accounts, values = 300, 20
	now := time.Now()
	s := &fakeStore{}
	for range accounts {
		e := newEntry()
		for i := range values {
			e.Values = append(e.Values, Value{fmt.Sprintf("%043d", i), now})
		}
		s.entries = append(s.entries, e)
	}
	r := openFake(t, s, Options{MaxValues: values, Now: func() time.Time { return now.Add(DefaultRetention + time.Hour) }})
	if err := r.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	dropped := 0
	for _, batch := range s.commits {
		drops := 0
		for _, m := range batch {
			if _, ok := m.(DropValue); ok {
				drops++
			}
		}
		if dropped += drops; drops > maxBatch+values {
			t.Errorf("one commit drops %d values", drops)
		}
	}
	if dropped != accounts*(values-alwaysKept) {
		t.Errorf("%d values were dropped, want %d", dropped, accounts*(values-alwaysKept))
	}
}
