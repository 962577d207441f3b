package registry

import (
	"context"
	"fmt"
	"sync"
)

const (
	// maxWaiting bounds the memory of what waits: some ten megabytes.
	maxWaiting = 8192
	// maxBatch bounds how long a transaction can take, and so how long the
	// last of a crowd waits for the writes before its own.
	maxBatch = 1024
)

// write is a change that somebody waits for.
type write struct {
	// plan adds its mutations to a batch. An error fails this write alone.
	plan func(*batch) error

	done chan struct{} // closed when err and seq are set
	err  error
	seq  uint64        // of the change that it is in, or was planned on
	lead chan struct{} // closed to make the waiting writer the leader

	abandoned bool // nobody waits any more; under queue.mu
}

// queue shares the cost of commits: all writes that come while one is under
// way are committed together by the next. It has no goroutine of its own. A
// writer that finds nobody at work leads: it commits what waits, its own write
// first, and then hands the lead to one of those that came meanwhile. So a
// lone writer waits for one flush and nothing else.
type queue struct {
	commit func(context.Context, []*write) // decides every write

	mu      sync.Mutex
	waiting []*write
	leading bool
	closed  bool
	idle    chan struct{} // closed when the last leader is done, after close
}

// do has a write committed and returns its outcome. If ctx ends first, do
// returns its error, and the write is decided without the caller.
func (q *queue) do(ctx context.Context, plan func(*batch) error) error {
	_, err := q.doAt(ctx, plan)
	return err
}

// doAt is do, and says which change of a shared store the write is in.
func (q *queue) doAt(ctx context.Context, plan func(*batch) error) (seq uint64, err error) {
	w := &write{plan: plan, done: make(chan struct{}), lead: make(chan struct{})}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return 0, ErrClosed
	case len(q.waiting) >= maxWaiting:
		q.mu.Unlock()
		return 0, ErrOverloaded
	}
	q.waiting = append(q.waiting, w)
	if !q.leading {
		q.leading = true
		close(w.lead)
	}
	q.mu.Unlock()

	select {
	case <-w.lead:
	case <-w.done:
		return w.seq, w.err
	case <-ctx.Done():
		if !q.abandon(w) {
			break // it was made the leader meanwhile, and others wait for it
		}
		return 0, ctx.Err()
	}
	q.work(context.WithoutCancel(ctx), w)
	<-w.done
	return w.seq, w.err
}

// abandon notes that nobody waits for w. It fails when w leads.
func (q *queue) abandon(w *write) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.lead:
		return false
	default:
		w.abandoned = true
		return true
	}
}

// work commits batches until own is decided and another leads, or nothing
// waits. Only the leader runs it.
func (q *queue) work(ctx context.Context, own *write) {
	// A panic in a store must not leave the others waiting for ever.
	defer func() {
		if p := recover(); p != nil {
			for !q.handOver() {
				q.refuse(fmt.Errorf("%w: a commit panicked", ErrStore))
			}
			panic(p)
		}
	}()
	for {
		q.commitNext(ctx)
		select {
		case <-own.done:
			if q.handOver() {
				return
			}
		default: // more than a batch was before it
		}
	}
}

// commitNext commits one batch of what waits.
func (q *queue) commitNext(ctx context.Context) {
	q.mu.Lock()
	n := min(len(q.waiting), maxBatch)
	writes := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil // let go of the array
	}
	q.mu.Unlock()

	decided := false
	defer func() {
		for _, w := range writes {
			if !decided && w.err == nil {
				w.err = fmt.Errorf("%w: the commit panicked", ErrStore)
			}
			close(w.done)
		}
	}()
	q.commit(ctx, writes)
	decided = true
}

// handOver makes the first writer who still waits the leader. It reports
// whether the caller is free: when only abandoned writes wait, it is not.
func (q *queue) handOver() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.waiting {
		if !w.abandoned {
			close(w.lead)
			return true
		}
	}
	if len(q.waiting) > 0 {
		return false
	}
	q.leading = false
	if q.idle != nil {
		close(q.idle)
	}
	return true
}

// refuse decides all that waits, without the store.
func (q *queue) refuse(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.waiting {
		w.err = err
		close(w.done)
	}
	q.waiting = nil
}

// close refuses later writes, fails those that wait, and returns when the
// commit under way is done. It is called once.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	for _, w := range q.waiting {
		w.err = ErrClosed // the next commit finds them decided
	}
	idle := make(chan struct{})
	if q.leading {
		q.idle = idle
	} else {
		close(idle)
	}
	q.mu.Unlock()
	<-idle
}
