package registry

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
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
// What queries need is read without a lock.
//
// A million accounts with two values each take about 190 MB: 152 bytes a
// record, and 11 to 21 for a place in each of the two tables.
type index struct {
	seed    maphash.Seed
	secret  [sha256.Size]byte     // of nameKey
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

// nameShard holds the accounts whose subdomains hash to it. records and names
// are for all to read; who reads what else is in a record, or in the maps, locks.
type nameShard struct {
	records arena
	names   table
	older   overflow // values after the newest two, newest first
	version atomic.Uint64
	pending atomic.Pointer[change]

	mu       sync.RWMutex
	spelling map[uint32]string // subdomains whose text is not the canonical UUID
	bcrypt   map[uint32][]byte
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
	rand.Read(x.secret[:])
	x.own.Store(new([]string))
	x.records.Store(new(string))
	return x
}

func (x *index) hash(id uuid.UUID) uint64 { return maphash.Bytes(x.seed, id[:]) }

// nameKey is what a name is found by: the UUID, or for other names a digest that
// nobody else can compute, so that nobody finds two with the same.
type nameKey struct {
	name uuid.UUID
	form recordFlags // isText or 0
	hash uint64
}

// key returns the key of a name, which has no upper-case letters unless it is a
// UUID.
func (x *index) key(label []byte) (k nameKey) {
	if id, isUUID := parseCanonical(label); isUUID {
		return nameKey{name: id, hash: x.hash(id)}
	}
	var buffer [sha256.Size + 64]byte
	text := append(append(buffer[:0], x.secret[:]...), label...)
	digest := sha256.Sum256(text)
	k = nameKey{form: isText, hash: binary.LittleEndian.Uint64(digest[16:])}
	copy(k.name[:], digest[:])
	return k
}

func (x *index) shard(k *nameKey) *nameShard { return &x.names[k.hash%shardCount] }

// find locates a name, see key. The shard is returned read-locked.
func (x *index) find(label []byte) (s *nameShard, n uint32, ok bool) {
	k := x.key(label)
	s = x.shard(&k)
	s.mu.RLock()
	n, ok = s.find(&k)
	return s, n, ok
}

// appendTXT appends the values at label, newest first. It takes no lock.
func (x *index) appendTXT(dst, label []byte) ([]byte, bool) {
	k := x.key(label)
	f, older, ok := x.shard(&k).serve(&k)
	if !ok {
		return dst, false
	}
	for i := range f.count {
		dst = f.values[i].appendTo(appendLength(dst, txtLength))
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
	if rec := s.records.at(n); rec.user != username || rec.face.flags()&isFree != 0 {
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
	if rec.face.flags()&hasBcrypt != 0 {
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
	f := s.records.at(n).face.load()
	if f.flags&hasSpelling != 0 {
		return s.spelling[n]
	}
	return f.name.String()
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
	f := rec.face.load()
	list := make([]stamped, 0, alwaysKept+1)
	for i := range f.count {
		list = append(list, stamped{f.values[i], rec.at[i]})
	}
	return append(list, s.older.get(n)...)
}

// setValues stores list, newest first, of which it keeps no part.
func (s *nameShard) setValues(n uint32, list []stamped) {
	s.show(n, s.records.at(n).face.load(), list)
}

// show makes a record show f with list, newest first, for its values.
func (s *nameShard) show(n uint32, f face, list []stamped) {
	rec := s.records.at(n)
	newest := list[:min(len(list), alwaysKept)]
	f.values, f.count = [alwaysKept]packed{}, uint8(len(newest))
	for i := range newest {
		f.values[i], rec.at[i] = newest[i].value, newest[i].at
	}
	s.publish(n, f, slices.Clone(list[len(newest):]))
}

// add takes an entry of the store in. It is the visitor of Store.Load.
func (x *index) add(e *Entry) error {
	if len(e.PasswordHash) != sha256.Size && !isBcrypt(e.PasswordHash) {
		return fmt.Errorf("%w: the password hash of account %s", ErrMalformed, e.Username)
	}
	list := make([]stamped, len(e.Values))
	for i, v := range e.Values {
		if !validTXT(v.TXT) {
			return fmt.Errorf("%w: a value of account %s", ErrMalformed, e.Username)
		}
		list[len(list)-1-i] = stamped{pack(v.TXT), unixSeconds(v.At)}
	}
	return x.create(&e.Account, list)
}

// create adds an account with its values, newest first.
func (x *index) create(a *Account, list []stamped) error {
	if x.exists(a) {
		return fmt.Errorf("%w: account %s is there twice", ErrMalformed, a.Username)
	}
	allow := x.allow.intern(a)
	lower := lowerASCII(a.Subdomain)
	k := x.key([]byte(lower))

	s := x.shard(&k)
	s.mu.Lock()
	rec, n := s.records.add()
	rec.user, rec.allow = a.Username, allow
	rec.born, rec.used = unixSeconds(a.Created), unixSeconds(a.Authenticated)
	f := face{name: k.name, flags: k.form}
	if k.form == isText || a.Subdomain != lower {
		put(&s.spelling, n, strings.Clone(a.Subdomain))
		f.flags |= hasSpelling
	}
	s.show(n, f, list)
	s.setHash(n, a.PasswordHash)
	s.setNote(n, strings.Clone(a.Note))
	s.setUpdated(n, unixSeconds(a.Updated))
	s.names.insert(k.hash, n) // last of all: from now on queries find it
	s.mu.Unlock()

	uh := x.hash(a.Username)
	u := &x.users[uh%shardCount]
	u.mu.Lock()
	u.table.insert(uh, n<<shardBits|uint32(k.hash%shardCount))
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
func parseCanonical(s []byte) (id uuid.UUID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, false
	}
	var bad byte
	for i, at := range [len(id)]byte{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34} {
		high, low := hexDigits[s[at]]-1, hexDigits[s[at+1]]-1
		bad |= high | low
		id[i] = high<<4 | low
	}
	return id, bad <= 0xF
}

// hexDigits are the values of hexadecimal digits, raised by one.
var hexDigits = [256]byte{
	'0': 1, '1': 2, '2': 3, '3': 4, '4': 5, '5': 6, '6': 7, '7': 8, '8': 9, '9': 10,
	'a': 11, 'b': 12, 'c': 13, 'd': 14, 'e': 15, 'f': 16,
	'A': 11, 'B': 12, 'C': 13, 'D': 14, 'E': 15, 'F': 16,
}
