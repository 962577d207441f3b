package registry

import (
	"context"
	"sync"
	"time"
)

const (
	// maxWaiting bounds the memory of what waits: some ten megabytes.
	maxWaiting = 8192
	// maxBatch bounds how long a transaction can take, and so how long the
	// last of a crowd waits for the writes before its own.
	maxBatch = 1024

	// maxGather is how long after the begin of a commit more writes are waited
	// for, at the latest, before the next one.
	maxGather = 5 * time.Millisecond
)

// write is a change that somebody waits for.
type write struct {
	// plan adds its mutations to a batch. An error fails this write alone.
	plan func(*batch) error

	done chan struct{} // closed when err and seq are set
	err  error
	seq  uint64 // of the change that it is in, or was planned on
}

// queue shares the cost of commits: all writes that come while one is under
// way are committed together by the next. So a lone writer waits for one flush
// and nothing else. Its goroutine, the committer, is there while something
// waits: the first writer starts it, and close waits for its end.
//
// Where writers come together, a commit gathers more of them (see crowd), since
// each takes time of the processor beside that of its writes: with SQLite some
// 0.3 ms.
type queue struct {
	commit func([]*write) // decides every write; for the committer alone

	mu      sync.Mutex
	waiting []*write
	working bool // the committer is there
	closed  bool
	idle    chan struct{} // closed when the committer has ended, after close

	gathering int           // how many writes the committer waits for
	gathered  chan struct{} // closed when so many wait, or the queue is closed; nil: it does not wait

	// For the committer alone.
	crowd crowd
	began time.Time // the last commit
}

// do has a write committed and returns its outcome. If ctx ends first, do
// returns its error, and the write is decided without the caller.
func (q *queue) do(ctx context.Context, plan func(*batch) error) error {
	_, err := q.doAt(ctx, plan)
	return err
}

// doAt is do, and says which change of a shared store the write is in.
func (q *queue) doAt(ctx context.Context, plan func(*batch) error) (seq uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	w := &write{plan: plan, done: make(chan struct{})}
	if err := q.add(w); err != nil {
		return 0, err
	}
	select {
	case <-w.done:
		return w.seq, w.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// add puts a write behind those that wait.
func (q *queue) add(w *write) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrClosed
	case len(q.waiting) >= maxWaiting:
		return ErrOverloaded
	}
	q.waiting = append(q.waiting, w)
	if len(q.waiting) >= q.gathering {
		q.stopGathering()
	}
	if !q.working {
		q.working = true
		go q.work()
	}
	return nil
}

// work commits batches until nothing waits.
func (q *queue) work() {
	for {
		q.gather()
		writes := q.next()
		if len(writes) == 0 {
			return
		}
		q.began = time.Now()
		q.crowd.saw(len(writes))
		q.commit(writes)
		for _, w := range writes {
			close(w.done)
		}
	}
}

// gather returns when as many writes wait as the next commit is to have, or
// none, when maxGather has passed, or when the queue is closed.
func (q *queue) gather() {
	left := maxGather - time.Since(q.began)
	if left <= 0 {
		return
	}
	gathered := q.startGathering()
	if gathered == nil {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-gathered:
	case <-timer.C:
		q.mu.Lock()
		q.stopGathering()
		q.mu.Unlock()
	}
}

// startGathering returns nil where there is nothing to wait for.
func (q *queue) startGathering() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	if q.gathering = q.crowd.expects(); len(q.waiting) >= q.gathering {
		return nil
	}
	q.gathered = make(chan struct{})
	return q.gathered
}

// stopGathering lets the committer go on, if it waits. It needs mu.
func (q *queue) stopGathering() {
	if q.gathered != nil {
		close(q.gathered)
		q.gathered = nil
	}
}

// next takes what is to be committed together. When it returns nothing, the
// committer has ended.
func (q *queue) next() []*write {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	writes := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil // let go of the array
	}
	if n == 0 {
		q.working = false
		if q.idle != nil {
			close(q.idle)
		}
	}
	return writes
}

// close refuses those that wait and all later ones, and returns when the commit
// under way is done. It is called once.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.stopGathering()
	for _, w := range q.waiting {
		w.err = ErrClosed
		close(w.done)
	}
	q.waiting = nil
	idle := make(chan struct{})
	if q.working {
		q.idle = idle
	} else {
		close(idle)
	}
	q.mu.Unlock()
	<-idle
}
