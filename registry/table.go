package registry

// table is a hash table from hashes to numbers, open addressed with linear
// probing. It holds neither keys nor pointers: eight bytes a slot, where a Go
// map with 16-byte keys takes 21 and, near the bounds at which it splits,
// twice as much an entry. The caller compares the key, which is in the record
// that the number names. The zero table is empty. Not safe for concurrent use.
type table struct {
	slots []slot // a power of two
	used  int
}

// slot is empty while number is 0; numbers are kept raised by one.
type slot struct {
	tag    uint32 // upper half of the hash; the place follows from it alone
	number uint32
}

// find returns the number under hash for which equal says yes.
func (t *table) find(hash uint64, equal func(number uint32) bool) (uint32, bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	tag, mask := uint32(hash>>32), uint32(len(t.slots)-1)
	for i := tag & mask; t.slots[i].number != 0; i = (i + 1) & mask {
		if s := t.slots[i]; s.tag == tag && equal(s.number-1) {
			return s.number - 1, true
		}
	}
	return 0, false
}

// insert adds number under hash. The caller knows that it is not in the table.
func (t *table) insert(hash uint64, number uint32) {
	// At most three quarters full: a miss then probes 8.5 slots on average,
	// of which eight share a cache line.
	if 4*(t.used+1) > 3*len(t.slots) {
		t.grow()
	}
	t.place(slot{tag: uint32(hash >> 32), number: number + 1})
	t.used++
}

// remove takes out what find finds. Nothing marks the place: what probing put
// behind it moves up (Knuth, TAOCP 6.4, algorithm R), so that a table in which
// as many come as go never fills with the dead.
func (t *table) remove(hash uint64, equal func(number uint32) bool) {
	if len(t.slots) == 0 {
		return
	}
	tag, mask := uint32(hash>>32), uint32(len(t.slots)-1)
	hole := tag & mask
	for ; ; hole = (hole + 1) & mask {
		s := t.slots[hole]
		if s.number == 0 {
			return
		}
		if s.tag == tag && equal(s.number-1) {
			break
		}
	}
	for i := (hole + 1) & mask; t.slots[i].number != 0; i = (i + 1) & mask {
		// One whose own place is after the hole must stay behind it.
		if home := t.slots[i].tag & mask; (i-home)&mask >= (i-hole)&mask {
			t.slots[hole], hole = t.slots[i], i
		}
	}
	t.slots[hole] = slot{}
	t.used--
}

func (t *table) place(s slot) {
	mask := uint32(len(t.slots) - 1)
	i := s.tag & mask
	for t.slots[i].number != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]slot, max(16, 2*len(old)))
	for _, s := range old {
		if s.number != 0 {
			t.place(s)
		}
	}
}
