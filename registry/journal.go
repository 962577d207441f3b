package registry

import (
	"cmp"
	"slices"
	"sync"

	"github.com/google/uuid"
)

// journal is the way from earlier states of an index to the present one, as far
// as it is kept: what a secondary name server lacks. It ends with its index,
// since a loaded one has no history.
type journal struct {
	keep int // bounds len(steps) and the names in them together; 0: none is kept

	// mu is held while a batch is applied, so that who holds it sees none half.
	mu        sync.Mutex
	steps     []step // in the order of commits, without gaps
	size      int    // of steps, as keep counts
	changed   chan struct{}
	snapshots map[*snapshot]struct{}
}

// step is what a batch has changed.
type step struct {
	from, to uint64 // serials
	names    []nameChange
}

// nameChange is the values of a name before and after, as AppendTXT gives them.
// A name without values and one that does not exist are the same here.
type nameChange struct {
	label         string // in lower case
	before, after []byte
}

// applyAll makes a committed batch visible, and the serial of the store after it.
// It is called for one batch after the other, in the order of commits.
func (x *index) applyAll(batch []Mutation, serial uint64) error {
	j := &x.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	var names []nameChange
	if j.keep > 0 || len(j.snapshots) > 0 {
		names = x.touched(batch)
	}
	for s := range j.snapshots {
		s.save(x, names)
	}
	for _, m := range batch {
		if err := x.apply(m); err != nil {
			return err
		}
	}
	from := x.serial.Load()
	if serial == from {
		return nil
	}
	// Last: who sees the new serial sees the new content.
	x.serial.Store(serial)
	if slices.ContainsFunc(batch, isRecords) {
		j.steps, j.size = nil, 0 // of the records it is not known what they were
	} else if j.keep > 0 {
		for i := range names {
			names[i].after = x.textAt(names[i].label)
		}
		j.add(step{from, serial, names})
	}
	j.wake()
	return nil
}

// touched returns the names that a batch is about to change, with the values that
// they have before it.
func (x *index) touched(batch []Mutation) (names []nameChange) {
	seen := make(map[string]bool)
	touch := func(label string, ok bool) {
		if !ok || seen[label] {
			return
		}
		seen[label] = true
		names = append(names, nameChange{label: label, before: x.textAt(label)})
	}
	for _, m := range batch {
		switch m := m.(type) {
		case CreateAccount:
			// A PutValue of the same batch finds no account yet. Its name is this.
			touch(lowerASCII(m.Subdomain), true)
		case PutValue:
			touch(x.labelOf(m.Username))
		case DropValue:
			touch(x.labelOf(m.Username))
		case DeleteAccount:
			touch(x.labelOf(m.Username))
		case SetChallenges:
			touch(OwnLabel, true)
		}
	}
	return names
}

// labelOf returns the name of an account in lower case.
func (x *index) labelOf(username uuid.UUID) (label string, ok bool) {
	s, n, ok := x.account(username, forReading)
	if !ok {
		return "", false
	}
	defer s.mu.RUnlock()
	return lowerASCII(s.subdomain(n)), true
}

// textAt returns the values at a label, nil if it has none.
func (x *index) textAt(label string) []byte {
	if label == OwnLabel {
		return appendOwn(nil, *x.own.Load())
	}
	values, _ := x.appendTXT(nil, []byte(label))
	return values
}

// appendOwn appends values of the server's own challenge as AppendTXT gives them.
func appendOwn(dst []byte, own []string) []byte {
	for _, value := range own {
		dst = append(appendLength(dst, len(value)), value...)
	}
	return dst
}

// add puts a step at the end, and drops the oldest for which there is no room.
func (j *journal) add(s step) {
	j.steps = append(j.steps, s)
	j.size += 1 + len(s.names)
	drop := 0
	for j.size > j.keep {
		j.size -= 1 + len(j.steps[drop].names)
		j.steps[drop] = step{}
		drop++
	}
	j.steps = j.steps[drop:]
}

// wake tells those who wait for a change. j.mu is held.
func (j *journal) wake() {
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// since returns the steps from a serial on to the present one. known is false if
// they are not kept, or not any more.
func (x *index) since(serial uint32) (steps []step, now uint32, known bool) {
	j := &x.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	now = uint32(x.serial.Load())
	if serial == now {
		return nil, now, true
	}
	i := slices.IndexFunc(j.steps, func(s step) bool { return uint32(s.from) == serial })
	if i < 0 {
		return nil, now, false
	}
	return slices.Clone(j.steps[i:]), now, true
}

// Changes calls each for every name whose values are others now than they were
// at a serial, with both as AppendTXT gives them, which may be kept but not
// changed. Names without values are like those that do not exist. It returns the
// serial that is meant by now. known is false if the serial is none that the
// registry remembers (see Options.Journal). err is that of AppendTXT, or ErrRecords.
func (r *Registry) Changes(since uint32, each func(label string, before, after []byte)) (now uint32, known bool, err error) {
	steps, now, known := r.index.Load().since(since)
	if err := cmp.Or(r.fresh(), r.sameRecords()); err != nil {
		return now, false, err
	}
	var order []string
	net := make(map[string]*nameChange)
	for _, s := range steps {
		for i := range s.names {
			c := &s.names[i]
			if first := net[c.label]; first != nil {
				first.after = c.after
				continue
			}
			copied := *c
			net[c.label] = &copied
			order = append(order, c.label)
		}
	}
	for _, label := range order {
		c := net[label]
		each(c.label, c.before, c.after)
	}
	return now, known, nil
}

// Changed returns a channel that is closed when Serial moves after the call.
func (r *Registry) Changed() <-chan struct{} {
	for {
		x := r.index.Load()
		x.journal.mu.Lock()
		if x.journal.changed == nil {
			x.journal.changed = make(chan struct{})
		}
		changed := x.journal.changed
		x.journal.mu.Unlock()
		if x == r.index.Load() {
			return changed
		}
	}
}
