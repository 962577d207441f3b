package postgres

import (
	"flag"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	schedules = flag.Int("schedules", manySchedules, "random schedules of the simulation")
	oneSeed   = flag.Uint64("schedule", 0, "the seed of one schedule to run")
)

const scheduleLength = 40 * time.Second

// simulate runs one schedule, and then lets everything be well for a while, but
// for one node that may stay deaf for good: it must end with a write that all
// nodes serve, or all others, and that one does not answer.
func simulate(seed uint64, f flaw) (w *world, stuck bool) {
	w = newWorld(seed, f)
	w.run(scheduleLength)
	w.quiet = true
	last := w.nodes[len(w.nodes)-1]
	if w.random.IntN(4) == 0 {
		last.deaf++
	}
	w.run(w.now + 20*time.Second)
	before := w.db.seq
	// What was on its way may still keep the first attempts from the lock.
	for range 10 {
		w.nodes[0].take(func() {})
		w.run(w.now + 5*time.Second)
		stuck = w.acknowledged <= before
		for _, n := range w.nodes {
			ok := n.lease.valid(n.clock()) && n.applied == w.db.seq
			if n.isDeafTo(w.db.seq) {
				ok = !n.lease.valid(n.clock())
			}
			stuck = stuck || !ok
		}
		if !stuck || w.broken != "" {
			break
		}
	}
	return w, stuck
}

// TestNoNodeAnswersWithThePast runs random schedules of stops, partitions, crashes
// and clocks that run apart. The seed of one that fails repeats it.
func TestNoNodeAnswersWithThePast(t *testing.T) {
	t.Parallel()
	first, count := uint64(1), *schedules
	if *oneSeed != 0 {
		first, count = *oneSeed, 1
	}
	var acknowledged atomic.Uint64
	var group sync.WaitGroup
	next := make(chan uint64)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for seed := range next {
				w, stuck := simulate(seed, sound)
				if w.broken != "" {
					t.Errorf("after %v: %s; again with -schedule %d", w.now, w.broken, seed)
				} else if stuck {
					t.Errorf("nothing is acknowledged although all is well; again with -schedule %d", seed)
				}
				acknowledged.Add(w.acknowledged)
			}
		})
	}
	for seed := first; seed < first+uint64(count) && !t.Failed(); seed++ {
		next <- seed
	}
	close(next)
	group.Wait()
	t.Logf("%d schedules, %d updates were acknowledged", count, acknowledged.Load())
}

// TestSimulationFindsFlaws shows that the test above would find a wrong protocol.
func TestSimulationFindsFlaws(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]flaw{
		"lease from the reply": leaseFromReply, "removes early": removesEarly, "joins without a turn": joinsWithoutTurn,
		"believes old rows": believesOldRows, "removes blindly": removesBlindly, "confirms too early": confirmsTooEarly,
		"returns without care": returnsWithoutCare, "leaves too late": leavesTooLate, "never leaves": neverLeaves,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(*schedules) {
				w, stuck := simulate(seed, f)
				if w.broken != "" || stuck && f == neverLeaves {
					t.Logf("found by schedule %d", seed)
					return
				}
			}
			t.Errorf("not found by %d schedules", *schedules)
		})
	}
}
