package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// Recovery can mean to write a whole database anew, so that it is not
	// tried with every write that fails.
	firstPause = time.Second
	lastPause  = 30 * time.Second

	probeAge = time.Second // a success of Check is good for so long
)

// storeState is what the committer knows about the store. Committers follow each
// other, so that it needs no lock.
type storeState struct {
	failing bool
	stale   bool          // the index may lack what the store holds: no commits
	pause   time.Duration // before the next attempt to recover
	next    time.Time
}

var errStale = fmt.Errorf("%w: its content has to be loaded again first", ErrStore)

// health is the outcome of the last write, for Check.
type health struct {
	turn chan struct{} // one probe at a time

	mu  sync.Mutex
	at  time.Time // of the last outcome
	err error
}

func (h *health) set(at time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at, h.err = at, err
}

// fresh returns the last outcome if it is recent.
func (h *health) fresh(now time.Time) (err error, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	age := now.Sub(h.at)
	return h.err, !h.at.IsZero() && age >= 0 && age < probeAge
}

// Check returns nil if the store can take a durable write now, and this node is
// no stale one of several. It finds out by
// one, unless a write was tried in the last second: then it returns what came
// of that. After a failed write it keeps failing until a write succeeds.
func (r *Registry) Check(ctx context.Context) error {
	select {
	case r.health.turn <- struct{}{}:
		defer func() { <-r.health.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err, ok := r.health.fresh(r.opts.Now()); ok {
		return cmp.Or(err, r.fresh())
	}
	return cmp.Or(r.probe(ctx), r.fresh())
}

// probe tries a durable write.
func (r *Registry) probe(ctx context.Context) error {
	return r.queue.do(ctx, func(b *batch) error {
		b.add(Probe{At: time.Unix(int64(b.now), 0)})
		return nil
	})
}

// Serve removes values whose retention is over, has a store that failed mended,
// and follows the other nodes of a shared one, until ctx ends; then it returns
// nil. One Serve runs at a time.
// Without it old values leave at the next update of their name, and recovery
// waits for the next write or Check.
func (r *Registry) Serve(ctx context.Context) error {
	if r.shared != nil {
		followed := make(chan struct{})
		defer func() { <-followed }()
		go func() {
			defer close(followed)
			r.shared.Follow(ctx, follower{r})
		}()
	}
	sweep := time.NewTicker(min(max(r.opts.Retention/60, time.Second), time.Minute))
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			// The store's failures are logged where they are noticed, and the
			// next sweep tries again. Without the check a server that nobody
			// writes to would not notice that its database is gone.
			_ = r.sweep(ctx)
			_ = r.Check(ctx)
		case <-r.wake:
			r.awaitStore(ctx)
		}
	}
}

// awaitStore probes until a write succeeds or ctx ends.
func (r *Registry) awaitStore(ctx context.Context) {
	timer := time.NewTimer(firstPause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := r.probe(ctx); err == nil || errors.Is(err, ErrClosed) {
			return
		}
		// The committer decides when a real attempt is due. To ask is cheap.
		timer.Reset(firstPause)
	}
}

// sweep removes all values whose time is over, about maxBatch of them by one write.
func (r *Registry) sweep(ctx context.Context) error {
	users := r.index.Load().overdue(r.opts.Retention, r.opts.Now())
	for len(users) > 0 {
		done := 0
		err := r.queue.do(ctx, func(b *batch) error {
			done = 0 // it may be planned again
			for before := len(b.mutations); done < min(len(users), maxBatch) && len(b.mutations)-before < maxBatch; done++ {
				b.sweep(users[done])
			}
			return nil
		})
		if err != nil {
			return err
		}
		users = users[done:]
	}
	return nil
}

// commit decides writes: they become durable and visible, or fail. It runs in
// the committer of the queue only. None of those that wait can take it back: the
// context of one is not that of the others.
func (r *Registry) commit(writes []*write) {
	tried, err := r.tryCommit(context.Background(), writes)
	if tried {
		r.note(err)
	}
	for _, w := range writes {
		if err != nil && w.err == nil {
			w.err = err
		}
	}
}

// tryCommit is commit but for what comes of its error. After a panic nobody knows
// what was written: the store is loaded again before the next commit.
func (r *Registry) tryCommit(ctx context.Context, writes []*write) (tried bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("a commit panicked", "panic", p, "stack", string(debug.Stack()))
			r.state.stale = true
			tried, err = true, fmt.Errorf("%w: the commit panicked", ErrStore)
			if r.shared != nil {
				r.shared.Rollback(ctx) // the turn is not ours any more
			}
		}
	}()
	if err := r.recoverStore(ctx); err != nil {
		return true, err
	}
	return r.commitWrites(ctx, writes)
}

// commitWrites commits the writes that can be done, together. A write that
// cannot be gets its own error; the error returned is the store's. tried is
// false when the store was not asked, because none could be done.
func (r *Registry) commitWrites(ctx context.Context, writes []*write) (tried bool, err error) {
	for {
		if r.shared != nil {
			tried = true
			if err := r.begin(ctx); err != nil {
				return tried, err
			}
		}
		x := r.index.Load()
		b, owner := r.plan(x, writes)
		if len(b.mutations) == 0 {
			if r.shared != nil {
				// What they found done must be settled, too.
				r.shared.Rollback(ctx)
				at(writes, x.seq.Load())
			}
			return tried, nil
		}
		tried = true
		committed, err := r.store.Commit(ctx, b.mutations)
		var refused *MutationError
		if errors.As(err, &refused) && refused.Index >= 0 && refused.Index < len(owner) {
			owner[refused.Index].err = refused.Err
			continue
		}
		if err != nil {
			return true, err
		}
		if err := r.applyOwn(committed, b.mutations); err != nil {
			r.state.stale = true
			return true, err
		}
		at(writes, committed.Seq)
		return true, nil
	}
}

// at notes in which change writes are.
func at(writes []*write, seq uint64) {
	for _, w := range writes {
		w.seq = seq
	}
}

// plan makes the mutations of all writes that have not failed. owner says for
// each mutation whose it is.
func (r *Registry) plan(x *index, writes []*write) (b *batch, owner []*write) {
	r.applying.Lock() // a turn that was lost does not keep changes away
	defer r.applying.Unlock()
	b = r.newBatch(x)
	for _, w := range writes {
		if w.err != nil {
			continue
		}
		if w.err = w.plan(b); w.err != nil {
			b.mutations = b.mutations[:len(owner)]
			continue
		}
		for len(owner) < len(b.mutations) {
			owner = append(owner, w)
		}
	}
	return b, owner
}

// recoverStore has a failing store mended if an attempt is due. An error means
// that the store must not be used yet.
func (r *Registry) recoverStore(ctx context.Context) error {
	st := &r.state
	now := r.opts.Now()
	if !st.failing || now.Before(st.next) {
		if st.stale {
			return errStale
		}
		return nil
	}
	st.pause = min(2*st.pause, lastPause)
	st.next = now.Add(st.pause)
	reload, err := r.store.Recover(ctx)
	st.stale = st.stale || reload
	if err != nil || !st.stale {
		return err
	}
	if err := r.load(ctx); err != nil {
		return fmt.Errorf("loading the registry again: %w", err)
	}
	st.stale = false
	r.log.Info("the registry was loaded again", "accounts", r.Len())
	return nil
}

// note keeps the outcome of a batch for Check, and logs when it is another
// than that of the batch before.
func (r *Registry) note(err error) {
	st := &r.state
	now := r.opts.Now()
	r.health.set(now, err)
	switch {
	case err != nil && !st.failing:
		r.log.Warn("the store takes no writes; DNS goes on from memory", "err", err)
		st.failing, st.pause, st.next = true, firstPause, now.Add(firstPause)
		select {
		case r.wake <- struct{}{}:
		default:
		}
	case err == nil && st.failing:
		r.log.Info("the store takes writes again")
		*st = storeState{}
	}
}
