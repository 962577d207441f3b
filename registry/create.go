package registry

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
)

// add takes an entry of the store in. It is the visitor of Store.Load.
func (x *index) add(e *Entry) error {
	if len(e.PasswordHash) != sha256.Size && !isBcrypt(e.PasswordHash) {
		return fmt.Errorf("%w: the password hash of account %s", ErrMalformed, e.Username)
	}
	var few [alwaysKept]stamped // what most have
	list := few[:]
	if len(e.Values) > len(few) {
		list = make([]stamped, len(e.Values))
	}
	list = list[:len(e.Values)]
	for i, v := range e.Values {
		if !validTXT(v.TXT) {
			return fmt.Errorf("%w: a value of account %s", ErrMalformed, e.Username)
		}
		list[len(list)-1-i] = stamped{toTXT(v.TXT), unixSeconds(v.At)}
	}
	return x.create(&e.Account, list)
}

// create adds an account with its values, newest first. It keeps those after the
// newest two.
func (x *index) create(a *Account, list []stamped) error {
	lower := lowerASCII(a.Subdomain)
	k, uh := x.key([]byte(lower)), x.hash(a.Username)
	s, u := x.shard(&k), &x.users[uh%shardCount]

	// Only this goroutine changes the index: what is not there does not come.
	if x.isTaken(&k, a.Username, uh) {
		return fmt.Errorf("%w: account %s is there twice", ErrMalformed, a.Username)
	}
	allow := x.allow.intern(a)

	s.mu.Lock()
	rec, n, fresh := s.records.add()
	rec.user, rec.allow = a.Username, allow
	rec.born, rec.used = unixSeconds(a.Created), unixSeconds(a.Authenticated)
	f := face{name: k.name, flags: k.form}
	if k.form == isText || a.Subdomain != lower {
		put(&s.spelling, n, strings.Clone(a.Subdomain))
		f.flags |= hasSpelling
	}
	if fresh {
		s.showFirst(n, f, list)
	} else {
		s.show(n, f, list) // a query may still be looking at the record of before
	}
	s.setHash(n, a.PasswordHash)
	if a.Note != "" {
		s.setNote(n, strings.Clone(a.Note))
	}
	s.setUpdated(n, unixSeconds(a.Updated))
	s.names.insert(k.hash, n) // last of all: from now on queries find it
	s.mu.Unlock()

	u.mu.Lock()
	u.table.insert(uh, n<<shardBits|uint32(k.hash%shardCount))
	u.mu.Unlock()
	x.size.Add(1)
	x.locked.Add(lockedIf(allow))
	return nil
}

// showFirst is show for a record that no query can find yet.
func (s *nameShard) showFirst(n uint32, f face, list []stamped) {
	older := s.fill(n, &f, list)
	if len(older) > 0 {
		f.flags |= hasOlder
		s.older.set(n, older)
	}
	s.records.at(n).face.store(&f)
}

// setHash stores a password hash of either form.
func (s *nameShard) setHash(n uint32, hash []byte) {
	rec := s.records.at(n)
	if isBcrypt(hash) {
		put(&s.bcrypt, n, bytes.Clone(hash))
		rec.face.setFlags(hasBcrypt, 0)
		return
	}
	copy(rec.hash[:], hash)
	delete(s.bcrypt, n)
	rec.face.setFlags(0, hasBcrypt)
}

// isBcrypt tells the two forms of hashes apart, by the length as well: one
// SHA-256 in 65,536 begins with "$2".
func isBcrypt(hash []byte) bool {
	return len(hash) != sha256.Size && bytes.HasPrefix(hash, []byte("$2"))
}
