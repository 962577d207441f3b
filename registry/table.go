package registry

import "sync/atomic"

// table is a hash table from hashes to numbers, open addressed with linear
// probing. It holds neither keys nor pointers: eight bytes a slot, where a Go
// map with 16-byte keys takes 21 and, near the bounds at which it splits,
// twice as much an entry. The caller compares the key, which is in the record
// that the number names. The zero table is empty.
//
// One goroutine at a time changes it. Any number call find and first meanwhile, and wait
// for nothing: an entry never moves in the slots in which it is, and a reader
// of slots that were replaced sees what was there.
type table struct {
	slots atomic.Pointer[[]atomic.Uint64] // a power of two
	used  int
	dead  int
}

// slot is the upper half of the hash, from which alone the place follows, and
// the number raised by firstNumber.
type slot uint64

// What is in place of a number.
const (
	emptySlot = iota
	deadSlot  // was in use: probing goes on
	firstNumber
)

func newSlot(hash uint64, number uint32) slot {
	return slot(hash&^(1<<32-1) | uint64(number+firstNumber))
}

func (s slot) tag() uint32    { return uint32(s >> 32) }
func (s slot) state() uint32  { return uint32(s) }
func (s slot) number() uint32 { return uint32(s) - firstNumber }
func (s slot) used() bool     { return s.state() >= firstNumber }

// find returns the number under hash for which equal says yes.
func (t *table) find(hash uint64, equal func(number uint32) bool) (uint32, bool) {
	current := t.slots.Load()
	if current == nil {
		return 0, false
	}
	_, s := probe(*current, hash, equal)
	return s.number(), s.used()
}

// first returns the first number with the tag of hash: the one under hash, or
// another that shares the tag.
func (t *table) first(hash uint64) (uint32, bool) {
	current := t.slots.Load()
	if current == nil {
		return 0, false
	}
	slots, tag := *current, uint32(hash>>32)
	mask := uint32(len(slots) - 1)
	for i := tag & mask; ; i = (i + 1) & mask {
		s := slot(slots[i].Load())
		if s.tag() == tag && s.used() || s.state() == emptySlot {
			return s.number(), s.used()
		}
	}
}

// probe returns the place of what find finds, and what was there: the place may
// have another content by now. It returns emptySlot if there is nothing.
func probe(slots []atomic.Uint64, hash uint64, equal func(number uint32) bool) (place uint32, s slot) {
	tag, mask := uint32(hash>>32), uint32(len(slots)-1)
	for i := tag & mask; ; i = (i + 1) & mask {
		s := slot(slots[i].Load())
		if s.state() == emptySlot || s.used() && s.tag() == tag && equal(s.number()) {
			return i, s
		}
	}
}

// insert adds number under hash. The caller knows that it is not in the table.
func (t *table) insert(hash uint64, number uint32) {
	var slots []atomic.Uint64
	if current := t.slots.Load(); current != nil {
		slots = *current
	}
	// At most three quarters full: a miss then probes 8.5 slots on average,
	// of which eight share a cache line.
	if 4*(t.used+t.dead+1) > 3*len(slots) {
		slots = t.rebuild(slots)
	}
	t.dead -= place(slots, newSlot(hash, number))
	t.used++
}

// place puts s into the first place that is free. It returns how many of the
// dead it took the place of.
func place(slots []atomic.Uint64, s slot) (dead int) {
	mask := uint32(len(slots) - 1)
	i := s.tag() & mask
	for slot(slots[i].Load()).used() {
		i = (i + 1) & mask
	}
	if slot(slots[i].Load()).state() == deadSlot {
		dead = 1
	}
	slots[i].Store(uint64(s))
	return dead
}

// rebuild replaces the slots by others, without the dead, and twice as many if
// it is not them alone that fill the table.
func (t *table) rebuild(old []atomic.Uint64) []atomic.Uint64 {
	size := len(old)
	if 8*(t.used+1) > 3*size {
		size = max(16, 2*size)
	}
	slots := make([]atomic.Uint64, size)
	for i := range old {
		if s := slot(old[i].Load()); s.used() {
			place(slots, s)
		}
	}
	t.dead = 0
	t.slots.Store(&slots)
	return slots
}

// remove takes out what find finds.
func (t *table) remove(hash uint64, equal func(number uint32) bool) {
	current := t.slots.Load()
	if current == nil {
		return
	}
	slots := *current
	i, s := probe(slots, hash, equal)
	if !s.used() {
		return
	}
	t.used--
	t.dead++
	slots[i].Store(deadSlot)
	// Where probing ends behind the dead, it can end at them.
	mask := uint32(len(slots) - 1)
	if slot(slots[(i+1)&mask].Load()).state() != emptySlot {
		return
	}
	for slot(slots[i].Load()).state() == deadSlot {
		slots[i].Store(emptySlot)
		t.dead--
		i = (i - 1) & mask
	}
}
