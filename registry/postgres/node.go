package postgres

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// The times of the protocol; see the package comment.
const (
	leaseTime  = 5 * time.Second
	evictAfter = 7500 * time.Millisecond
	renewEvery = time.Second
	followTime = leaseTime // a lease that cannot be renewed would be over then, too
)

// instant is a time on the monotonic clock of a process.
type instant time.Duration

// member is a row of the table nodes: a node that others wait for.
type member struct {
	id      uuid.UUID
	applied uint64 // the newest change that it has confirmed
	renewal uint64 // counts its renewals
}

// lease is the right of a process to answer. It is safe for concurrent use.
type lease struct{ until atomic.Int64 }

func (l *lease) valid(now instant) bool { return int64(now) < l.until.Load() }

// extend counts from the moment before the request was sent.
func (l *lease) extend(sent instant) {
	if until := int64(sent) + int64(leaseTime); until > l.until.Load() {
		l.until.Store(until)
	}
}

func (l *lease) end() { l.until.Store(0) }

// node is the decisions of the protocol, without a database and without a clock,
// so that a simulation can have them in its own. But for the lease it is for one
// caller at a time.
type node struct {
	lease lease

	id   uuid.UUID   // as which it is a member; Nil: it is none
	past []uuid.UUID // as which this process was one, and perhaps still has a row

	behind instant // since when it has tried in vain to have every change; 0: it has

	asOf   uint64 // everybody who joined by this change is in others, or gone
	others map[uuid.UUID]*watched
	waits  []*wait
}

// watched is another member, and since when nothing has come from it.
type watched struct {
	member
	since instant
}

// wait is for the change seq to be settled.
type wait struct {
	seq  uint64
	done chan struct{}
}

// joined is called when a row with a new id was committed, by a request that was
// sent at a time.
func (n *node) joined(id uuid.UUID, sent instant) {
	n.id, n.past = id, nil
	n.lease.extend(sent)
}

// renewed is called when the row of id was renewed.
func (n *node) renewed(id uuid.UUID, sent instant) {
	if id == n.id {
		n.lease.extend(sent)
	}
}

// leave ends the membership, first of all in this process. The row stays, until
// somebody removes it.
func (n *node) leave() (id uuid.UUID) {
	n.lease.end()
	id, n.id = n.id, uuid.Nil
	n.doubt(id)
	return id
}

// doubt is called with an id of which this process makes no use (any more), but
// which may have a row.
func (n *node) doubt(id uuid.UUID) {
	if id != uuid.Nil {
		n.past = append(n.past, id)
	}
}

// tries is called when this node begins, or goes on, to look for changes.
func (n *node) tries(now instant) {
	if n.behind == 0 {
		n.behind = max(now, 1)
	}
}

// follows is called when it has applied and confirmed all that there were.
func (n *node) follows() { n.behind = 0 }

// lost reports whether this node must be no member: the others would wait for
// what it does not get done.
func (n *node) lost(now instant) bool { return n.behind != 0 && now-n.behind >= instant(followTime) }

// see takes all rows in, as they were at the change asOf. Rows that are older
// than others that were seen may lack a member, and are of no use.
func (n *node) see(asOf uint64, rows []member, now instant) {
	if asOf < n.asOf {
		return
	}
	before := n.others
	n.asOf, n.others = asOf, make(map[uuid.UUID]*watched, len(rows))
	for _, m := range rows {
		if m.id == n.id || slices.Contains(n.past, m.id) {
			continue
		}
		w := &watched{m, now}
		if b := before[m.id]; b != nil {
			w.applied = max(w.applied, b.applied)
			if b.renewal == m.renewal {
				w.since = b.since
			}
		}
		n.others[m.id] = w
	}
	n.release()
}

// committed is called when this node has committed a change in a turn in which
// see was called: nobody can have joined since.
func (n *node) committed(seq uint64) {
	n.asOf = max(n.asOf, seq)
	n.release()
}

// acknowledged is called when a member says what it has applied.
func (n *node) acknowledged(id uuid.UUID, applied uint64) {
	if w := n.others[id]; w != nil && applied > w.applied {
		w.applied = applied
		n.release()
	}
}

// overdue returns the members that were silent for so long that their leases are
// over, whatever has become of them. Each may be removed while its row is still
// the same.
func (n *node) overdue(now instant) (gone []member) {
	for _, w := range n.others {
		if now-w.since >= instant(evictAfter) {
			gone = append(gone, w.member)
		}
	}
	slices.SortFunc(gone, func(a, b member) int { return slices.Compare(a.id[:], b.id[:]) })
	return gone
}

// settled is the newest change that every other member has applied, of those
// whose every member is known.
func (n *node) settled() uint64 {
	seq := n.asOf
	for _, w := range n.others {
		seq = min(seq, w.applied)
	}
	return seq
}

// await returns a channel that is closed when a change is settled; nil: it is.
func (n *node) await(seq uint64) <-chan struct{} {
	if seq <= n.settled() {
		return nil
	}
	i, found := slices.BinarySearchFunc(n.waits, seq, func(w *wait, seq uint64) int { return cmp.Compare(w.seq, seq) })
	if !found {
		n.waits = slices.Insert(n.waits, i, &wait{seq, make(chan struct{})})
	}
	return n.waits[i].done
}

// release ends the waits for what is settled.
func (n *node) release() {
	settled, i := n.settled(), 0
	for i < len(n.waits) && n.waits[i].seq <= settled {
		close(n.waits[i].done)
		i++
	}
	n.waits = slices.Delete(n.waits, 0, i)
}

// gone is called when a member was removed.
func (n *node) gone(id uuid.UUID) {
	delete(n.others, id)
	n.release()
}
