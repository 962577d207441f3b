package registry

import (
	"github.com/google/uuid"
)

// remove takes an account out with all that is known of it. An account that is
// not there is no error.
//
// The username goes first: who finds the name in between finds an account to
// which nobody can log in any more.
func (x *index) remove(username uuid.UUID) {
	s, n, ok := x.account(username, forReading)
	if !ok {
		return
	}
	s.mu.RUnlock() // only this goroutine changes the index: n stays what it is

	h := x.hash(username)
	u := &x.users[h%shardCount]
	u.mu.Lock()
	u.table.remove(h, func(ref uint32) bool { return x.userAt(ref) == username })
	u.mu.Unlock()

	s.mu.Lock()
	rec := s.records.at(n)
	allow := rec.allow
	k := x.key([]byte(lowerASCII(s.subdomain(n))))
	s.names.remove(k.hash, func(other uint32) bool { return other == n })
	s.publish(n, face{flags: isFree}, nil)
	delete(s.spelling, n)
	delete(s.bcrypt, n)
	delete(s.notes, n)
	delete(s.updated, n)
	s.records.remove(n)
	s.mu.Unlock()

	x.allow.release(allow)
	x.size.Add(-1)
	x.locked.Add(-lockedIf(allow))
}

// userAt returns the username in the record that ref names.
func (x *index) userAt(ref uint32) uuid.UUID {
	s := &x.names[ref%shardCount]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.records.at(ref >> shardBits).user
}
