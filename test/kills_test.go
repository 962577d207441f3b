package test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cnamed/test/program"
)

var kills = flag.Int("kills", 40, "how many times TestNothingIsLostByKills kills the server")

// TestNothingIsLostByKills kills the real server with SIGKILL at random moments,
// some of them in the middle of its start, while clients register, update, change
// and delete accounts. After each start every account is what the last answer
// said, or what the one request without an answer would have made of it, whole.
//
//	go test ./test -run TestNothingIsLostByKills -kills 500 -v
func TestNothingIsLostByKills(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
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

		moment := time.AfterFunc(time.Duration(random.Int64N(int64(120*time.Millisecond))), s.Kill)
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
