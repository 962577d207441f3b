package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// index is the committed state in memory. Any number of goroutines read it;
// one at a time changes it, the loader first and then the committer
// of the queue, in the order of commits. A reader sees a change of one account whole.
// What queries need is read without a lock.
//
// A million accounts with two values each take about 210 MB: 172 bytes a
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

	retired map[string]struct{} // names that are not given again, in lower case; for the committer alone
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
	var f face
	older, ok := x.shard(&k).serve(&k, &f)
	if !ok {
		return dst, false
	}
	return f.appendTXT(dst, older), true
}

// appendLength appends a length as AppendTXT gives it.
func appendLength(dst []byte, n int) []byte { return append(dst, byte(n>>8), byte(n)) }

// reference finds the reference of an account by its username, with the hash of it.
func (x *index) reference(username uuid.UUID, hash uint64) (ref uint32, ok bool) {
	u := &x.users[hash%shardCount]
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.table.find(hash, func(ref uint32) bool { return x.userAt(ref) == username })
}

// account locates an account. When found, the shard is returned locked, for how,
// and the caller unlocks it.
func (x *index) account(username uuid.UUID, how locking) (s *nameShard, n uint32, ok bool) {
	ref, ok := x.reference(username, x.hash(username))
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
	c.used = s.authenticated(n)
	s.mu.RUnlock()
	return c, true
}

// subdomain returns the subdomain of an account as registered.
func (s *nameShard) subdomain(n uint32) string {
	var f face
	if s.records.at(n).face.load(&f); f.flags&hasSpelling != 0 {
		return s.spelling[n]
	}
	return f.name.String()
}

// exists reports whether the username or the subdomain is taken.
func (x *index) exists(a *Account) bool {
	k := x.key([]byte(lowerASCII(a.Subdomain)))
	return x.isTaken(&k, a.Username, x.hash(a.Username))
}

// isTaken is exists for who has the keys.
func (x *index) isTaken(k *nameKey, username uuid.UUID, hash uint64) bool {
	_, named := x.shard(k).find(k)
	_, known := x.reference(username, hash)
	return named || known
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

// values returns a copy, with room for one more.
func (s *nameShard) values(n uint32) []stamped {
	rec := s.records.at(n)
	f, older := s.shown(n)
	list := make([]stamped, 0, int(f.count)+len(older)+1)
	for i := range f.count {
		list = append(list, stamped{f.values[i], rec.at[i]})
	}
	return append(list, older...)
}

// shown returns what a record shows, to who changes it or has locked it.
func (s *nameShard) shown(n uint32) (f face, older []stamped) {
	if s.records.at(n).face.load(&f); f.flags&hasOlder != 0 {
		older = s.older.get(n)
	}
	return f, older
}

// dropValue removes a value. It is the oldest as a rule, and then none moves.
func (s *nameShard) dropValue(n uint32, v stamped) {
	f, older := s.shown(n)
	if last := len(older) - 1; last >= 0 && older[last] == v {
		s.publish(n, f, older[:last])
		return
	}
	s.setValues(n, slices.DeleteFunc(s.values(n), func(s stamped) bool { return s == v }))
}

// setValues stores list, newest first. It keeps it: nobody may change it.
func (s *nameShard) setValues(n uint32, list []stamped) {
	var f face
	s.records.at(n).face.load(&f)
	s.show(n, f, list)
}

// show makes a record show f with list, newest first, for its values. It keeps
// list, as setValues does.
func (s *nameShard) show(n uint32, f face, list []stamped) {
	older := s.fill(n, &f, list)
	s.publish(n, f, older)
}

// fill puts the newest of list into f, with their times into the record, and
// returns the others.
func (s *nameShard) fill(n uint32, f *face, list []stamped) (older []stamped) {
	rec := s.records.at(n)
	newest := list[:min(len(list), alwaysKept)]
	f.values, f.count = [alwaysKept]txtValue{}, uint8(len(newest))
	for i := range newest {
		f.values[i], rec.at[i] = newest[i].value, newest[i].at
	}
	return list[len(newest):]
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
