package registry

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// batch turns writes into mutations. It knows the committed state and what the
// writes before in the same batch do to it.
type batch struct {
	index     *index
	now       uint32 // unix seconds
	expired   uint32 // a value set before it has outlived the retention
	maxValues int

	mutations []Mutation
	values    map[uuid.UUID][]stamped // accounts whose values the batch changes
	uses      map[string]int          // of tokens, by ID, in the batch so far
	fates     map[uuid.UUID]fate      // accounts to which it does what later writes must know
	chosen    map[string]struct{}     // names that accounts of it have chosen
}

func (r *Registry) newBatch(x *index) *batch {
	now := r.opts.Now()
	return &batch{
		index:     x,
		now:       unixSeconds(now),
		expired:   unixSeconds(now.Add(-r.opts.Retention)),
		maxValues: r.opts.MaxValues,
		values:    make(map[uuid.UUID][]stamped),
		fates:     make(map[uuid.UUID]fate),
	}
}

func (b *batch) add(m Mutation) { b.mutations = append(b.mutations, m) }

// create adds an account. Its name must not be that of another in the batch: see
// isGiven.
func (b *batch) create(a Account) error {
	if b.index.exists(&a) {
		return ErrExists
	}
	b.add(CreateAccount{a})
	return nil
}

// put sets a value, makes it the newest, and drops those whose time is over.
func (b *batch) put(username uuid.UUID, value txtValue) error {
	list, ok := b.list(username)
	if !ok {
		// The account was there when it authenticated, and is not any more.
		return ErrForbidden
	}
	newest := stamped{value, b.now}
	b.add(PutValue{Username: username, Value: newest.Value()})
	b.values[username] = b.keep(username, putFirst(list, newest))
	b.fates[username] |= used
	return nil
}

// sweep drops the values of an account whose time is over.
func (b *batch) sweep(username uuid.UUID) {
	if list, ok := b.list(username); ok {
		b.values[username] = b.keep(username, list)
	}
}

// keep applies the rule of retention to list, newest first: what does not stay
// becomes a mutation, what stays is returned, in the memory of list.
func (b *batch) keep(username uuid.UUID, list []stamped) []stamped {
	kept := list[:0]
	for i := range list {
		if i < alwaysKept || i < b.maxValues && list[i].at >= b.expired {
			kept = append(kept, list[i])
		} else {
			b.add(DropValue{Username: username, Value: list[i].Value()})
		}
	}
	return kept
}

// list returns the values of an account as they are after the batch so far. They
// are the caller's, who gives them back to b.values once he has changed them.
func (b *batch) list(username uuid.UUID) ([]stamped, bool) {
	if b.fates[username]&deleted != 0 {
		return nil, false
	}
	if list, ok := b.values[username]; ok {
		return list, true
	}
	return b.index.values(username)
}

// putFirst returns list with v first and nowhere else, in the memory of list if
// there is room.
func putFirst(list []stamped, v stamped) []stamped {
	i := slices.IndexFunc(list, func(s stamped) bool { return s.value == v.value })
	if i < 0 {
		i, list = len(list), append(list, v)
	}
	copy(list[1:], list[:i])
	list[0] = v
	return list
}

// apply makes a committed mutation visible. Mutations are applied one by one
// in the order of commits and say all that is to be done, so that those of
// another node can be applied in the same way.
func (x *index) apply(m Mutation) error {
	switch m := m.(type) {
	case CreateAccount:
		return x.create(&m.Account, nil)
	case PutValue:
		v := stamped{toTXT(m.TXT), unixSeconds(m.At)}
		x.change(m.Username, func(s *nameShard, n uint32) {
			s.setValues(n, putFirst(s.values(n), v))
		})
	case DropValue:
		v := stamped{toTXT(m.TXT), unixSeconds(m.At)}
		x.change(m.Username, func(s *nameShard, n uint32) { s.dropValue(n, v) })
	case ReplacePassword:
		x.change(m.Username, func(s *nameShard, n uint32) { s.setHash(n, m.PasswordHash) })
	case DeleteAccount:
		x.remove(m.Username)
	case SetAllowFrom:
		x.setAllowFrom(m.Username, m.AllowFrom)
	case SetNote:
		x.change(m.Username, func(s *nameShard, n uint32) { s.setNote(n, m.Note) })
	case MarkUsed:
		x.change(m.Username, func(s *nameShard, n uint32) {
			s.setUpdated(n, unixSeconds(m.Updated))
			rec := s.records.at(n)
			rec.used = max(rec.used, unixSeconds(m.Authenticated))
		})
	case RetireName:
		put(&x.retired, lowerASCII(m.Name), struct{}{})
	case ReleaseName:
		delete(x.retired, lowerASCII(m.Name))
	case SetChallenges:
		x.own.Store(&m.Values)
	case SetRecords:
		x.records.Store(&m.Fingerprint)
	case CreateToken:
		x.tokens.add(m.Token)
	case RevokeToken:
		x.tokens.remove(m.ID)
	case UseToken:
		x.tokens.use(m.ID, m.At)
	case Probe:
	default:
		return fmt.Errorf("applying a mutation of type %T", m)
	}
	return nil
}

func (x *index) change(username uuid.UUID, f func(s *nameShard, n uint32)) {
	if s, n, ok := x.account(username, forWriting); ok {
		defer s.mu.Unlock()
		f(s, n)
	}
}

// overdue returns the accounts that have values whose time is over: only
// values after the newest two can be.
func (x *index) overdue(retention time.Duration, now time.Time) []uuid.UUID {
	expired := unixSeconds(now.Add(-retention))
	var users []uuid.UUID
	for i := range x.names {
		s := &x.names[i]
		s.mu.RLock()
		for n, list := range s.older.all() {
			if slices.ContainsFunc(list, func(v stamped) bool { return v.at < expired }) {
				users = append(users, s.records.at(n).user)
			}
		}
		s.mu.RUnlock()
	}
	return users
}
