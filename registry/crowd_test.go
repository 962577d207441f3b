package registry

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// flush is how long a commit takes in these tests.
const flush = time.Millisecond

// countingQueue is a queue in a bubble, and how many commits it made.
type countingQueue struct {
	queue
	commits, writes int // for the bubble, while nothing waits
}

func newCountingQueue() *countingQueue {
	q := &countingQueue{}
	q.commit = func(writes []*write) {
		q.commits++
		q.writes += len(writes)
		time.Sleep(flush)
	}
	return q
}

func (q *countingQueue) write(t *testing.T) {
	if err := q.do(context.Background(), nil); err != nil {
		t.Error(err)
	}
}

// inTurns has writers come again, each thinking for a while once it is answered.
func (q *countingQueue) inTurns(t *testing.T, writers int, length time.Duration) {
	var group sync.WaitGroup
	end := time.Now().Add(length)
	for range writers {
		group.Go(func() {
			for time.Now().Before(end) {
				q.write(t)
				time.Sleep(300 * time.Microsecond)
			}
		})
	}
	group.Wait()
	synctest.Wait()
}

func TestLoneWriterWaitsForOneFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newCountingQueue()
		q.inTurns(t, 8, 100*time.Millisecond) // there was a crowd before
		q.write(t)
		for range 100 {
			began := time.Now()
			q.write(t)
			if took := time.Since(began); took != flush {
				t.Fatalf("a write took %v, a flush takes %v", took, flush)
			}
		}
	})
}

func TestFewWritersShareCommitsAndLoseNoTime(t *testing.T) {
	t.Parallel()
	for writers := 2; writers <= enough; writers++ {
		synctest.Test(t, func(t *testing.T) {
			q := newCountingQueue()
			q.inTurns(t, writers, time.Second)
			// In turns half of them would be in each commit, and one would follow
			// the other without a gap.
			if turns := writers / 2 * int(time.Second/flush); q.writes < turns {
				t.Errorf("%d writers: %d writes in a second, less than the %d of taking turns", writers, q.writes, turns)
			}
			// Two never meet.
			if share := float64(q.writes) / float64(q.commits); writers > 2 && share < 0.9*float64(writers) {
				t.Errorf("%d writers: %.1f writes a commit", writers, share)
			}
		})
	}
}

func TestWritersThatDoNotWaitForEachOtherShareCommits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newCountingQueue()
		const gap = 400 * time.Microsecond
		var group sync.WaitGroup
		var mu sync.Mutex
		var slowest time.Duration
		for range 10_000 {
			group.Go(func() {
				began := time.Now()
				q.write(t)
				mu.Lock()
				defer mu.Unlock()
				slowest = max(slowest, time.Since(began))
			})
			time.Sleep(gap)
		}
		group.Wait()
		synctest.Wait()
		if share := float64(q.writes) / float64(q.commits); share < 0.8*float64(maxGather/gap) {
			t.Errorf("%.1f writes a commit, of %d that come in %v", share, maxGather/gap, maxGather)
		}
		if slowest > maxGather+flush {
			t.Errorf("a write took %v", slowest)
		}
	})
}

func TestCrowdIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newCountingQueue()
		q.inTurns(t, 4*enough, time.Second)
		if idle := time.Second - time.Duration(q.commits)*flush; idle > 10*time.Millisecond {
			t.Errorf("no commit was under way for %v of a second", idle)
		}
	})
}

func TestWriteThatNobodyJoinsDoesNotWaitForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newCountingQueue()
		q.inTurns(t, 8, 100*time.Millisecond)
		began := time.Now()
		q.write(t)
		if took := time.Since(began); took > maxGather+flush {
			t.Errorf("it took %v", took)
		}
	})
}

func TestCloseEndsTheGathering(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newCountingQueue()
		q.inTurns(t, 8, 100*time.Millisecond)
		var group sync.WaitGroup
		group.Go(func() {
			if err := q.do(t.Context(), nil); !errors.Is(err, ErrClosed) {
				t.Errorf("the write that waits: %v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		q.close()
		group.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("close took %v", took)
		}
	})
}
