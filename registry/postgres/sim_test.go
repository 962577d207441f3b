package postgres

import (
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
)

// world is a simulation of the protocol: some nodes, each with a clock of its own,
// one database, and messages between them that take time, get lost, and wait
// while one of the two is stopped. What a node decides, it decides by the code of
// the server (node.go). A value of the registry is no more than the number of the
// newest change.
type world struct {
	random *rand.Rand
	flaw   flaw
	now    time.Duration // the true time
	queue  eventQueue
	order  int
	db     *simDatabase
	nodes  []*simNode

	acknowledged uint64
	quiet        bool // no new faults
	broken       string
}

// flaw is a way to get the protocol wrong.
type flaw int

const (
	sound              flaw = iota
	leaseFromReply          // counts the lease from the reply, not from the request
	removesEarly            // removes a member when its lease may last
	joinsWithoutTurn        // inserts its row between the turns of others
	believesOldRows         // takes rows of before a commit for those of after it
	removesBlindly          // removes a member that has renewed meanwhile
	confirmsTooEarly        // confirms what it has read, and applies it later
	returnsWithoutCare      // does not notice that its row was removed
	leavesTooLate           // ends its lease when its row is gone
	neverLeaves             // renews although it cannot follow
)

type event struct {
	at    time.Duration
	order int
	do    func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, event{w.now + d, w.order, do})
}

// upTo returns a random duration.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.random.Int64N(int64(d))) }

func (w *world) newID() (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:], w.random.Uint64())
	return id
}

func newWorld(seed uint64, f flaw) *world {
	w := &world{random: rand.New(rand.NewPCG(seed, 0)), flaw: f}
	w.db = &simDatabase{world: w, rows: map[uuid.UUID]*member{}, durable: map[uuid.UUID]uint64{}}
	for range 2 + w.random.IntN(3) {
		n := &simNode{world: w, rate: 0.912 + 0.176*w.random.Float64(), skew: w.upTo(time.Hour)}
		w.nodes = append(w.nodes, n)
		n.boot()
		w.after(w.upTo(time.Second), n.write)
	}
	w.after(w.upTo(2*time.Second), w.fault)
	return w
}

// run lets time pass, and stops when the invariant is broken.
func (w *world) run(until time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= until && w.broken == "" {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
		for _, n := range w.nodes {
			if n.lease.valid(n.clock()) && n.applied < w.acknowledged {
				w.broken = "a node has a lease and not what was acknowledged"
			}
		}
	}
	w.now = until
}

// fault stops, cuts off, kills or spoils something, for a random time.
func (w *world) fault() {
	if w.quiet {
		return
	}
	n := w.nodes[w.random.IntN(len(w.nodes))]
	length := w.upTo(12 * time.Second)
	switch w.random.IntN(9) {
	case 0, 1:
		n.stopped++
		w.after(length, func() { n.resume() })
	case 2, 3:
		n.cut++
		w.after(length, func() { n.cut-- })
	case 4:
		n.boot()
	case 5:
		w.db.stopped++
		w.after(length/2, func() { w.db.resume() })
	case 6:
		w.db.crash()
	case 7:
		n.slow += length / 8
		w.after(length, func() { n.slow -= length / 8 })
	case 8:
		n.deaf++
		w.after(length, func() { n.deaf-- })
	}
	w.after(w.upTo(4*time.Second), w.fault)
}

// simDatabase executes requests one at a time.
type simDatabase struct {
	*world
	stopped int
	waiting []func()

	seq     uint64
	rows    map[uuid.UUID]*member
	durable map[uuid.UUID]uint64 // what a crash leaves of the confirmations
	turn    *simTurn             // who has the lock
	queued  []*simTurn
	life    int // crashes
}

type simTurn struct {
	granted   func()
	abandoned bool // its connection was closed
}

func (d *simDatabase) do(f func()) {
	if d.stopped > 0 {
		d.waiting = append(d.waiting, f)
		return
	}
	f()
}

func (d *simDatabase) resume() {
	if d.stopped--; d.stopped == 0 {
		waiting := d.waiting
		d.waiting = nil
		for _, f := range waiting {
			d.do(f)
		}
	}
}

// crash loses the connections and what was not flushed.
func (d *simDatabase) crash() {
	d.life++
	d.turn, d.queued = nil, nil
	for id, row := range d.rows {
		row.applied = d.durable[id]
	}
}

func (d *simDatabase) all() (rows []member) {
	for _, r := range d.rows {
		rows = append(rows, *r)
	}
	slices.SortFunc(rows, func(a, b member) int { return slices.Compare(a.id[:], b.id[:]) })
	return rows
}

func (d *simDatabase) lock(t *simTurn) {
	if d.turn != nil {
		d.queued = append(d.queued, t)
		d.after(lockTimeout, func() {
			d.queued = slices.DeleteFunc(d.queued, func(q *simTurn) bool { return q == t })
		})
		return
	}
	d.turn = t
	if t.abandoned {
		d.unlock(t)
		return
	}
	d.after(turnTimeout, func() { d.unlock(t) })
	t.granted()
}

func (d *simDatabase) unlock(t *simTurn) {
	if d.turn != t {
		return
	}
	d.turn = nil
	if len(d.queued) > 0 {
		next := d.queued[0]
		d.queued = d.queued[1:]
		d.lock(next)
	}
}

func (d *simDatabase) insert(id uuid.UUID, applied uint64, past []uuid.UUID) {
	for _, p := range past {
		delete(d.rows, p)
	}
	d.rows[id] = &member{id, applied, 0}
	d.durable[id] = applied
}

// notify tells all nodes; each notice can be late or lost.
func (d *simDatabase) notify(tell func(*simNode)) {
	for _, n := range d.nodes {
		n.toNode(n.life, func() { tell(n) })
	}
}
