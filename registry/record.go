package registry

import (
	"crypto/sha256"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/google/uuid"
)

// alwaysKept is how many values of a name stay whatever their age.
const alwaysKept = 2

// record is what the index holds of an account: 172 bytes without a pointer,
// so that the garbage collector has nothing to look at in a million of them.
// What few accounts have is in maps of the shard, by the record's number.
// Queries read the face and need no lock for it; the rest is under the shard's.
type record struct {
	user  uuid.UUID
	hash  [sha256.Size]byte // of the password, unless hasBcrypt
	face  sharedFace
	at    [alwaysKept]uint32 // when the values of the face were set, unix seconds
	allow uint32             // number in the allow table; of a free record, the next free one
	born  uint32             // unix seconds
	used  uint32             // last authentication, see markEvery; 0: never
}

type recordFlags uint8

const (
	hasSpelling recordFlags = 1 << iota // shard.spelling has the subdomain
	hasBcrypt                           // shard.bcrypt has the hash
	hasOlder                            // shard.older has values after the newest two
	isText                              // the name does not read as a UUID
	isFree                              // no account is here
)

const chunkRecords = 381 // 64 KiB but for 4 bytes: eight pages of the allocator

// arena is a list of records that grows without ever moving one. Places that
// became free are used again, the latest first. One goroutine at a time changes
// it; at is for all.
type arena struct {
	chunks atomic.Pointer[[]*[chunkRecords]record]
	len    uint32 // places, free ones too
	free   uint32 // the first free place, raised by one; 0: none
}

// at returns a record of a number that was given out. It does not index the chunk:
// to see that this is there at all, the program would read its first octet, which
// among a million records is as far from the processor as the record itself.
func (a *arena) at(n uint32) *record {
	chunk := (*a.chunks.Load())[n/chunkRecords]
	return (*record)(unsafe.Add(unsafe.Pointer(chunk), uintptr(n%chunkRecords)*unsafe.Sizeof(record{})))
}

// add returns a record, zero but for its face, and its number. A fresh one
// was never in use.
func (a *arena) add() (rec *record, n uint32, fresh bool) {
	if a.free > 0 {
		n := a.free - 1
		rec := a.at(n)
		a.free, rec.allow = rec.allow, 0
		return rec, n, false
	}
	n = a.len
	if n%chunkRecords == 0 {
		var chunks []*[chunkRecords]record
		if n > 0 {
			chunks = *a.chunks.Load()
		}
		chunks = append(chunks, new([chunkRecords]record))
		a.chunks.Store(&chunks)
	}
	a.len++
	return a.at(n), n, true
}

// remove frees a record. Its face shows already that it is free.
func (a *arena) remove(n uint32) {
	rec := a.at(n)
	rec.user, rec.hash, rec.at = uuid.UUID{}, [sha256.Size]byte{}, [alwaysKept]uint32{}
	rec.born, rec.used, rec.allow = 0, 0, a.free
	a.free = n + 1
}

// txtLength is the length of every value: base64url of a SHA-256 digest, RFC 8555 §8.4.
const txtLength = 43

// validTXT reports whether s has the form of a key authorization digest. The
// last character may be any: clients exist that send such values, and
// validators compare text.
func validTXT(s string) bool { return len(s) == txtLength && isBase64URL(s) }

// txtValue is a TXT value.
type txtValue [txtLength]byte

// toTXT converts a valid value. Of another, which who calls it has to refuse, it makes
// a value as well.
func toTXT(s string) (v txtValue) {
	copy(v[:], s)
	return v
}

// stamped is a value and when it was set, in unix seconds.
type stamped struct {
	value txtValue
	at    uint32
}

// Value returns s in the form that stores know.
func (s *stamped) Value() Value {
	return Value{TXT: string(s.value[:]), At: time.Unix(int64(s.at), 0)}
}

// unixSeconds is t as records keep it, which is good until 2106.
func unixSeconds(t time.Time) uint32 { return uint32(max(0, t.Unix())) }
