package postgres

import (
	"slices"
	"time"

	"github.com/google/uuid"
)

// simNode is a server: what Store does between the code of node and SQL.
type simNode struct {
	*world
	node
	rate    float64
	skew    time.Duration
	stopped int
	waiting []func()
	cut     int
	slow    time.Duration
	deaf    int // it cannot apply what others have changed
	life    int // of processes
	loaded  bool
	applied uint64
	asked   []uint64 // own changes that are not acknowledged
}

func (n *simNode) clock() instant { return instant(float64(n.now+n.skew) * n.rate) }

// boot ends the process and starts another, which loads everything.
func (n *simNode) boot() {
	n.life++
	n.node = node{}
	n.loaded, n.applied, n.asked, n.waiting = false, 0, nil, nil
	life := n.life
	n.request(func(reply func(func())) {
		seq := n.db.seq
		reply(func() {
			n.loaded, n.applied = true, seq
			n.keep(life)
			n.look(life)
		})
	}, func() {
		if n.life == life {
			n.after(time.Second, func() { n.ifAlive(life, n.boot) })
		}
	})
}

func (n *simNode) ifAlive(life int, f func()) {
	if n.life == life {
		n.act(f)
	}
}

// act does something as soon as the process is not stopped.
func (n *simNode) act(f func()) {
	if n.stopped > 0 {
		n.waiting = append(n.waiting, f)
		return
	}
	f()
}

func (n *simNode) resume() {
	if n.stopped--; n.stopped > 0 {
		return
	}
	waiting := n.waiting
	n.waiting = nil
	for _, f := range waiting {
		n.act(f)
	}
}

// toNode delivers something from the database, unless it gets lost.
func (n *simNode) toNode(life int, f func()) {
	if n.isLost() {
		return
	}
	n.after(n.delay(), func() { n.ifAlive(life, f) })
}

func (n *simNode) isLost() bool { return n.cut > 0 || !n.quiet && n.random.IntN(50) == 0 }

func (n *simNode) delay() time.Duration {
	d := n.upTo(5 * time.Millisecond)
	if n.random.IntN(20) == 0 {
		d += n.upTo(2 * time.Second)
	}
	return d + n.slow
}

// request has the database do something. Either its reply comes, or fail after a
// time-out; it may have been done all the same.
func (n *simNode) request(do func(reply func(func())), fail func()) {
	life, dbLife, settled := n.life, n.db.life, false
	n.after(time.Duration(5/n.rate*float64(time.Second)), func() {
		n.ifAlive(life, func() {
			if !settled {
				settled = true
				fail()
			}
		})
	})
	if n.isLost() {
		return
	}
	n.after(n.delay(), func() {
		n.db.do(func() {
			if n.db.life != dbLife {
				return
			}
			do(func(f func()) {
				n.toNode(life, func() {
					if !settled {
						settled = true
						f()
					}
				})
			})
		})
	})
}

// every second of the node's own.
func (n *simNode) later(life int, f func(int)) {
	n.after(time.Duration(float64(renewEvery)/n.rate), func() { n.ifAlive(life, func() { f(life) }) })
}

// keep is Store.keep.
func (n *simNode) keep(life int) {
	again := func() { n.later(life, n.keep) }
	if n.lost(n.clock()) && n.flaw != neverLeaves {
		n.giveUp(again)
		return
	}
	if n.id == uuid.Nil {
		if n.flaw == joinsWithoutTurn {
			n.joinAlone(again)
		} else {
			n.take(again)
		}
		return
	}
	n.poll(n.id, again)
}

// giveUp is what Store.renew does when it is lost.
func (n *simNode) giveUp(done func()) {
	left := n.id
	if n.flaw != leavesTooLate {
		n.leave()
	}
	n.request(func(reply func(func())) {
		delete(n.db.rows, left)
		reply(func() {
			if n.flaw == leavesTooLate && n.id == left {
				n.leave()
			}
			done()
		})
	}, done)
}

// isDeafTo reports whether there are changes that the node cannot apply.
func (n *simNode) isDeafTo(seq uint64) bool { return n.deaf > 0 && seq > n.applied }

// joinAlone is wrong.
func (n *simNode) joinAlone(done func()) {
	id, sent, past := n.newID(), n.clock(), n.past
	n.request(func(reply func(func())) {
		seq := n.db.seq
		n.db.insert(id, seq, past)
		reply(func() {
			n.applied = max(n.applied, seq)
			n.joined(id, sent)
			done()
		})
	}, done)
}

// poll is Store.poll.
func (n *simNode) poll(renewing uuid.UUID, done func()) {
	sent := n.clock()
	n.request(func(reply func(func())) {
		row := n.db.rows[renewing]
		if row != nil {
			row.renewal++
		}
		seq, rows, isMember := n.db.seq, n.db.all(), row != nil
		reply(func() {
			if n.flaw == leaseFromReply {
				sent = n.clock()
			}
			switch {
			case renewing == uuid.Nil:
			case isMember, n.flaw == returnsWithoutCare:
				n.renewed(renewing, sent)
			case renewing == n.id:
				n.leave()
			}
			n.see(seq, rows, n.clock())
			n.acknowledge()
			now := n.clock()
			if n.flaw == removesEarly {
				now += instant(3500 * time.Millisecond)
			}
			for _, m := range n.overdue(now) {
				n.evict(m)
			}
			done()
		})
	}, done)
}

// evict is Store.evict.
func (n *simNode) evict(m member) {
	n.request(func(reply func(func())) {
		row := n.db.rows[m.id]
		if row == nil || row.renewal != m.renewal && n.flaw != removesBlindly {
			return
		}
		delete(n.db.rows, m.id)
		reply(func() { n.gone(m.id); n.acknowledge() })
	}, func() {})
}

// look is Store.bring.
func (n *simNode) look(life int) {
	n.catchUp()
	n.later(life, n.look)
}

func (n *simNode) catchUp() {
	if !n.loaded {
		return
	}
	n.tries(n.clock())
	n.request(func(reply func(func())) {
		seq := n.db.seq
		reply(func() {
			if n.isDeafTo(seq) {
				return
			}
			n.follows()
			if n.flaw == confirmsTooEarly {
				life := n.life
				n.after(n.delay(), func() { n.ifAlive(life, func() { n.applied = max(n.applied, seq) }) })
			} else {
				n.applied = max(n.applied, seq)
				seq = n.applied
			}
			n.confirm(seq)
		})
	}, func() {})
}

func (n *simNode) confirm(seq uint64) {
	as := n.id
	n.request(func(func(func())) {
		row := n.db.rows[as]
		if row == nil || row.applied >= seq {
			return
		}
		row.applied = seq
		n.after(n.upTo(time.Second), func() { n.db.durable[as] = max(n.db.durable[as], seq) })
		n.db.notify(func(other *simNode) {
			other.node.acknowledged(as, seq)
			other.acknowledge()
		})
	}, func() {})
}

// write commits from time to time.
func (n *simNode) write() {
	if !n.quiet {
		n.act(func() { n.take(func() {}) })
		n.after(n.upTo(3*time.Second), n.write)
	}
}

// take is a turn with a commit, by which the node joins if it is no member.
func (n *simNode) take(done func()) {
	if !n.loaded {
		done()
		return
	}
	t := &simTurn{}
	n.request(func(reply func(func())) {
		t.granted = func() {
			seq, rows := n.db.seq, n.db.all()
			reply(func() {
				if n.isDeafTo(seq) {
					n.request(func(func(func())) { n.db.unlock(t) }, func() {})
					done()
					return
				}
				n.applied = max(n.applied, seq)
				if n.flaw != believesOldRows {
					n.see(seq, rows, n.clock())
				}
				n.commit(t, seq+1, done)
			})
		}
		n.db.lock(t)
	}, func() { t.abandoned = true; done() })
}

func (n *simNode) commit(t *simTurn, seq uint64, done func()) {
	var joining uuid.UUID
	if n.id == uuid.Nil && n.flaw != joinsWithoutTurn && !n.lost(n.clock()) {
		joining = n.newID()
	}
	past, sent := slices.Clone(n.past), n.clock()
	n.request(func(reply func(func())) {
		if n.db.turn != t {
			return
		}
		n.db.seq = seq
		if joining != uuid.Nil {
			n.db.insert(joining, seq, past)
		}
		n.db.unlock(t)
		n.db.notify(func(other *simNode) { other.catchUp() })
		reply(func() {
			switch {
			case joining == uuid.Nil:
			case n.id != uuid.Nil: // another turn of this process was faster
				n.doubt(joining)
			default:
				n.joined(joining, sent)
			}
			n.applied = max(n.applied, seq)
			n.committed(seq)
			n.asked = append(n.asked, seq)
			n.acknowledge()
			done()
		})
	}, func() { n.doubt(joining); done() })
}

// acknowledge answers 200 to what is settled.
func (n *simNode) acknowledge() {
	settled := n.settled()
	n.asked = slices.DeleteFunc(n.asked, func(seq uint64) bool {
		if seq > settled {
			return false
		}
		n.world.acknowledged = max(n.world.acknowledged, seq)
		return true
	})
}
