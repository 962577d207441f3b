package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

var (
	// ErrUnavailable reports that the store cannot be reached, or that not every
	// node confirmed the change in time. It is safe to repeat the write a few
	// seconds later. It wraps ErrStore.
	ErrUnavailable = fmt.Errorf("%w: it is not available now", ErrStore)
	// ErrRecords reports that another node has other records beside those of the
	// registry, so that the zone as a whole is not told by this one.
	ErrRecords = errors.New("another server has other records of the zone")
	// ErrStale reports that this node may lack what others have acknowledged. It
	// wraps ErrUnavailable.
	ErrStale = fmt.Errorf("%w: this node may be behind the others", ErrUnavailable)
	// ErrGap is what Shared returns, and Follower.Apply, where changes are
	// missing, that the store does not keep any more or cannot read. Only Load helps.
	ErrGap = errors.New("changes are missing")
)

// Change is a batch of mutations in its place in the order of commits, which is
// one order for all nodes.
type Change struct {
	Seq    uint64 // one more than that of the change before
	Serial uint64 // of the zone, after the change
	Batch  []Mutation
}

// Shared is a Store that several registries write to, each in its own process: a
// node. Every node applies every change, in the order of commits, and plans its
// own on a state that no other can change meanwhile: its turn. So what holds for
// the writes of one registry holds for those of all.
//
// Commit without a turn takes one. State.Seq and Committed.Seq are set, and Load
// shows the state after all changes up to State.Seq. Begin and Rollback are
// called like Commit, never two of them at once; the others by any goroutine.
type Shared interface {
	Store

	// Begin waits for the turn of this node, and returns the changes after
	// since, in order. The turn ends with the next Commit or Rollback, and after
	// a time that the store bounds. more says that there are further changes and
	// that no turn has begun. Errors: ErrGap, and those of Commit.
	Begin(ctx context.Context, since uint64) (changes []Change, more bool, err error)

	// Rollback ends a turn without a change.
	Rollback(ctx context.Context)

	// Settle returns nil once every node that may answer authoritatively has
	// applied the changes up to seq, a change that this one has committed or
	// applied. A node that does not is waited for until it has surely stopped to
	// answer. Error: ErrUnavailable, or the context's.
	Settle(ctx context.Context, seq uint64) error

	// Fresh reports whether this node has every change that was settled anywhere.
	// It is cheap, and also right in the first moment of a process that was
	// stopped for a while. It is false unless Follow runs.
	Fresh() bool

	// Follow keeps this node one of those that Settle waits for, and brings the
	// changes of the others to f as they come, until ctx ends. It survives the
	// loss of its connections. When it returns, Fresh is false for good.
	Follow(ctx context.Context, f Follower)
}

// Follower is what a Shared store knows of its Registry.
type Follower interface {
	// Applied is the newest change that is applied. It falls only by a Load after
	// the database was put back to an older state.
	Applied() uint64
	// Apply applies changes, in order and without gaps; those that are applied
	// already are skipped. When it returns nil, AppendTXT serves them. Error:
	// ErrGap, or that the state cannot follow.
	Apply(changes []Change) error
	// Touch has a batch committed now. By that a node that is none of those that
	// Settle waits for becomes one, and a state that has a gap is mended.
	Touch(ctx context.Context) error
}

// follower is the Follower of a registry.
type follower struct{ *Registry }

func (f follower) Applied() uint64 { return f.index.Load().seq.Load() }

func (f follower) Touch(ctx context.Context) error { return f.probe(ctx) }

func (f follower) Apply(changes []Change) error {
	f.applying.Lock()
	defer f.applying.Unlock()
	x := f.index.Load()
	for i := range changes {
		if err := x.follow(&changes[i]); err != nil {
			return err
		}
		if slices.ContainsFunc(changes[i].Batch, isRecords) {
			f.warnOfRecords()
		}
	}
	return nil
}

func isRecords(m Mutation) bool { _, ok := m.(SetRecords); return ok }

// follow applies a change, unless it is applied already.
func (x *index) follow(c *Change) error {
	switch seq := x.seq.Load(); {
	case c.Seq <= seq:
		return nil
	case c.Seq != seq+1:
		return fmt.Errorf("%w: from %d to %d", ErrGap, seq+1, c.Seq-1)
	}
	if err := x.applyAll(c.Batch, c.Serial); err != nil {
		return fmt.Errorf("%w: the index cannot follow: %w", ErrStore, err)
	}
	x.seq.Store(c.Seq)
	return nil
}

// write has a change committed, and returns nil when it is served by every node
// that answers.
func (r *Registry) write(ctx context.Context, plan func(*batch) error) error {
	seq, err := r.queue.doAt(ctx, plan)
	if err != nil || r.shared == nil {
		return err
	}
	return r.shared.Settle(ctx, seq)
}

// begin takes the turn of a shared store, with the index at the state that the
// turn is on. What comes of it is planned on that state.
func (r *Registry) begin(ctx context.Context) error {
	for r.shared != nil {
		since := follower{r}.Applied()
		changes, more, err := r.shared.Begin(ctx, since)
		if err == nil {
			if err = (follower{r}).Apply(changes); err != nil {
				r.shared.Rollback(ctx)
				r.state.stale = true
			}
		}
		if errors.Is(err, ErrGap) {
			r.log.Warn("changes of other nodes are missing, the registry is loaded again", "err", err)
			gap := err
			if err = r.load(ctx); err == nil {
				r.state.stale = false
				if (follower{r}).Applied() != since {
					continue // also at an older state, to which the database was put back
				}
				err = fmt.Errorf("%w: and are so still: %w", ErrStore, gap) // not at once again
			}
		}
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// applyOwn makes a batch visible that was committed.
func (r *Registry) applyOwn(c Committed, batch []Mutation) error {
	if r.shared != nil {
		return follower{r}.Apply([]Change{{c.Seq, c.Serial, batch}})
	}
	x := r.index.Load()
	return x.follow(&Change{x.seq.Load() + 1, c.Serial, batch})
}

// fresh returns nil unless the index may lack what another node acknowledged.
func (r *Registry) fresh() error {
	if r.shared != nil && !r.shared.Fresh() {
		return ErrStale
	}
	return nil
}

// refuse returns err, what is said to wrong credentials, or that this node cannot
// know that they are wrong.
func (r *Registry) refuse(err error) error {
	if stale := r.fresh(); stale != nil {
		return stale
	}
	return err
}
