package registry

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// index is the committed state in memory. Any number of goroutines read it;
// one at a time changes it, the loader first and then the leader of the
// queue, in the order of commits. A reader sees a change of one account whole.
//
// A million accounts with two values each take about 190 MB: 152 bytes a
// record, and 11 to 21 for a place in each of the two tables.
type index struct {
	seed    maphash.Seed
	names   [shardCount]nameShard // by subdomain; they own the records
	users   [shardCount]userShard // by username
	allow   allowTable
	tokens  tokenTable
	own     atomic.Pointer[[]string] // values of OwnLabel
	records atomic.Pointer[string]   // of the newest SetRecords
	serial  atomic.Uint64
	seq     atomic.Uint64 // of the newest change
	size    atomic.Int64
	locked  atomic.Int64 // accounts that nobody can use
	journal journal

	retired map[string]struct{} // names that are not given again, in lower case; for the leader alone
}

const (
	shardBits  = 6
	shardCount = 1 << shardBits
)

// nameShard holds the accounts whose subdomains hash to it.
type nameShard struct {
	mu       sync.RWMutex
	records  arena
	byUUID   table             // subdomains that read as UUIDs in canonical form, in any case
	byText   map[string]uint32 // all others, in lower case
	spelling map[uint32]string // subdomains whose text is not the canonical UUID
	bcrypt   map[uint32][]byte
	older    map[uint32][]stamped // values after the newest two, newest first
	notes    map[uint32]string
	updated  map[uint32]uint32 // last update of accounts that have no value of it any more
}

// userShard finds the accounts whose usernames hash to it. Its numbers are
// references: the number of the name shard in the low bits, and above them the
// record in it. Who holds a user shard may lock a name shard, never the other
// way round.
type userShard struct {
	mu    sync.RWMutex
	table table
}

func newIndex() *index {
	x := &index{seed: maphash.MakeSeed(), allow: newAllowTable()}
	x.own.Store(new([]string))
	x.records.Store(new(string))
	return x
}

func (x *index) hash(id uuid.UUID) uint64 { return maphash.Bytes(x.seed, id[:]) }

// find locates a name, which has no upper-case letters unless it is a UUID.
// The shard is returned read-locked.
func (x *index) find(label []byte) (s *nameShard, n uint32, ok bool) {
	if id, isUUID := parseCanonical(label); isUUID {
		h := x.hash(id)
		s = &x.names[h%shardCount]
		s.mu.RLock()
		n, ok = s.byUUID.find(h, func(n uint32) bool { return s.records.at(n).name == id })
		return s, n, ok
	}
	s = &x.names[maphash.Bytes(x.seed, label)%shardCount]
	s.mu.RLock()
	n, ok = s.byText[string(label)]
	return s, n, ok
}

// appendTXT appends the values at label, newest first.
func (x *index) appendTXT(dst, label []byte) ([]byte, bool) {
	s, n, ok := x.find(label)
	if !ok {
		s.mu.RUnlock()
		return dst, false
	}
	rec := s.records.at(n)
	count, values := int(rec.count), rec.values
	var older []stamped
	if rec.flags&hasOlder != 0 {
		older = s.older[n] // never changed in place
	}
	s.mu.RUnlock()

	for i := range count {
		dst = values[i].appendTo(appendLength(dst, txtLength))
	}
	for i := range older {
		dst = older[i].value.appendTo(appendLength(dst, txtLength))
	}
	return dst, true
}

// appendLength appends a length as AppendTXT gives it.
func appendLength(dst []byte, n int) []byte { return append(dst, byte(n>>8), byte(n)) }

// account locates an account. When found, the shard is returned locked, for how,
// and the caller unlocks it.
func (x *index) account(username uuid.UUID, how locking) (s *nameShard, n uint32, ok bool) {
	h := x.hash(username)
	u := &x.users[h%shardCount]
	u.mu.RLock()
	ref, ok := u.table.find(h, func(ref uint32) bool { return x.userAt(ref) == username })
	u.mu.RUnlock()
	if !ok {
		return nil, 0, false
	}
	s = &x.names[ref%shardCount]
	how.lock(s)
	// Between the locks the account may have gone, and another come to its place.
	n = ref >> shardBits
	if rec := s.records.at(n); rec.user != username || rec.flags&isFree != 0 {
		how.unlock(s)
		return nil, 0, false
	}
	return s, n, true
}

// locking is what a shard is locked for.
type locking bool

const (
	forReading locking = false
	forWriting locking = true
)

func (how locking) lock(s *nameShard) {
	if how == forWriting {
		s.mu.Lock()
	} else {
		s.mu.RLock()
	}
}

func (how locking) unlock(s *nameShard) {
	if how == forWriting {
		s.mu.Unlock()
	} else {
		s.mu.RUnlock()
	}
}

// credentials returns what authenticates username.
func (x *index) credentials(username uuid.UUID) (c credential, ok bool) {
	s, n, ok := x.account(username, forReading)
	if !ok {
		return credential{}, false
	}
	rec := s.records.at(n)
	c.hash = rec.hash
	if rec.flags&hasBcrypt != 0 {
		c.bcrypt = s.bcrypt[n]
	}
	c.subdomain = s.subdomain(n)
	c.allow = x.allow.get(rec.allow)
	c.used = rec.used
	s.mu.RUnlock()
	return c, true
}

// subdomain returns the subdomain of an account as registered.
func (s *nameShard) subdomain(n uint32) string {
	rec := s.records.at(n)
	if rec.flags&hasSpelling != 0 {
		return s.spelling[n]
	}
	return rec.name.String()
}

// exists reports whether the username or the subdomain is taken.
func (x *index) exists(a *Account) bool {
	if s, _, ok := x.account(a.Username, forReading); ok {
		s.mu.RUnlock()
		return true
	}
	s, _, ok := x.find([]byte(lowerASCII(a.Subdomain)))
	s.mu.RUnlock()
	return ok
}

// values returns the values of an account, newest first.
func (x *index) values(username uuid.UUID) (list []stamped, ok bool) {
	s, n, ok := x.account(username, forReading)
	if !ok {
		return nil, false
	}
	defer s.mu.RUnlock()
	return s.values(n), true
}

func (s *nameShard) values(n uint32) []stamped {
	rec := s.records.at(n)
	list := make([]stamped, 0, alwaysKept+1)
	for i := range int(rec.count) {
		list = append(list, stamped{rec.values[i], rec.at[i]})
	}
	return append(list, s.older[n]...)
}

// setValues stores list, newest first, of which it keeps no part.
func (s *nameShard) setValues(n uint32, list []stamped) {
	rec := s.records.at(n)
	rec.count = uint8(min(len(list), alwaysKept))
	for i := range int(rec.count) {
		rec.values[i], rec.at[i] = list[i].value, list[i].at
	}
	if len(list) > alwaysKept {
		if s.older == nil {
			s.older = make(map[uint32][]stamped)
		}
		s.older[n] = slices.Clone(list[alwaysKept:])
		rec.flags |= hasOlder
	} else if rec.flags&hasOlder != 0 {
		delete(s.older, n)
		rec.flags &^= hasOlder
	}
}

// add takes an entry of the store in. It is the visitor of Store.Load.
func (x *index) add(e *Entry) error {
	if len(e.PasswordHash) != sha256.Size && !isBcrypt(e.PasswordHash) {
		return fmt.Errorf("%w: account %s has a malformed password hash", ErrStore, e.Username)
	}
	list := make([]stamped, len(e.Values))
	for i, v := range e.Values {
		if !validTXT(v.TXT) {
			return fmt.Errorf("%w: account %s has a malformed value", ErrStore, e.Username)
		}
		list[len(list)-1-i] = stamped{pack(v.TXT), unixSeconds(v.At)}
	}
	return x.create(&e.Account, list)
}

// create adds an account with its values, newest first.
func (x *index) create(a *Account, list []stamped) error {
	if x.exists(a) {
		return fmt.Errorf("%w: account %s is there twice", ErrStore, a.Username)
	}
	allow := x.allow.intern(a)
	lower := lowerASCII(a.Subdomain)
	name, isUUID := parseCanonical(lower)
	h := x.hash(name)
	if !isUUID {
		h = maphash.String(x.seed, lower)
	}

	s := &x.names[h%shardCount]
	s.mu.Lock()
	rec, n := s.records.add()
	rec.user, rec.name, rec.allow = a.Username, name, allow
	rec.born, rec.used = unixSeconds(a.Created), unixSeconds(a.Authenticated)
	if !isUUID || a.Subdomain != lower {
		put(&s.spelling, n, strings.Clone(a.Subdomain))
		rec.flags |= hasSpelling
	}
	s.setHash(n, a.PasswordHash)
	s.setValues(n, list)
	s.setNote(n, strings.Clone(a.Note))
	s.setUpdated(n, unixSeconds(a.Updated))
	if isUUID {
		s.byUUID.insert(h, n)
	} else {
		put(&s.byText, strings.Clone(lower), n)
	}
	s.mu.Unlock()

	uh := x.hash(a.Username)
	u := &x.users[uh%shardCount]
	u.mu.Lock()
	u.table.insert(uh, n<<shardBits|uint32(h%shardCount))
	u.mu.Unlock()
	x.size.Add(1)
	x.locked.Add(lockedIf(allow))
	return nil
}

// setHash stores a password hash of either form.
func (s *nameShard) setHash(n uint32, hash []byte) {
	rec := s.records.at(n)
	if isBcrypt(hash) {
		put(&s.bcrypt, n, bytes.Clone(hash))
		rec.flags |= hasBcrypt
		return
	}
	copy(rec.hash[:], hash)
	delete(s.bcrypt, n)
	rec.flags &^= hasBcrypt
}

// isBcrypt tells the two forms of hashes apart, by the length as well: one
// SHA-256 in 65,536 begins with "$2".
func isBcrypt(hash []byte) bool {
	return len(hash) != sha256.Size && bytes.HasPrefix(hash, []byte("$2"))
}

// lowerASCII lowers the letters that DNS compares without regard to case
// (RFC 4343), and no others.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// put adds to a map that most shards never need.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = make(map[K]V)
	}
	(*m)[key] = value
}

// parseCanonical reads a UUID of 36 characters with its dashes, in either case.
func parseCanonical[T string | []byte](s T) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.UUID{}, false
	}
	id, err := uuid.ParseBytes([]byte(s))
	return id, err == nil
}
