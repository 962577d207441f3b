package registry

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/google/uuid"
)

// face is the part of a record that queries read: its name and its values. It is
// octets without gaps.
type face struct {
	name   uuid.UUID // of nameKey
	values [alwaysKept]txtValue
	flags  recordFlags
	count  uint8 // of values here, not of those in the overflow
}

// appendTXT appends the values, newest first, and then older ones.
func (f *face) appendTXT(dst []byte, older []stamped) []byte {
	for i := range f.count {
		dst = append(appendLength(dst, txtLength), f.values[i][:]...)
	}
	for i := range older {
		dst = append(appendLength(dst, txtLength), older[i].value[:]...)
	}
	return dst
}

const (
	faceSize  = 16 + alwaysKept*txtLength + 2
	faceWords = faceSize / 4
	lastWord  = faceWords - 1 // has the end of a value, the flags and the count
)

// sharedFace is a face as it lies in the record, in words each of which is read
// and written in one piece.
type sharedFace [faceWords]atomic.Uint32

// octets is the face as one piece of memory.
func (f *face) octets() *[faceSize]byte {
	var _ [faceSize]byte = [unsafe.Sizeof(face{})]byte{}
	return (*[faceSize]byte)(unsafe.Pointer(f))
}

// load reads the face into f. It can be torn, see nameShard.read.
func (w *sharedFace) load(f *face) {
	octets := f.octets()
	for i := range w {
		binary.LittleEndian.PutUint32(octets[4*i:], w[i].Load())
	}
}

// store writes the face, for nameShard.publish.
func (w *sharedFace) store(f *face) {
	octets := f.octets()
	for i := range w {
		w[i].Store(binary.LittleEndian.Uint32(octets[4*i:]))
	}
}

// flags reads the flags alone.
func (w *sharedFace) flags() recordFlags { return recordFlags(w[lastWord].Load() >> 16) }

// setFlags changes flags that mean nothing to queries.
func (w *sharedFace) setFlags(set, clear recordFlags) {
	w[lastWord].Store(w[lastWord].Load()&^(uint32(clear)<<16) | uint32(set)<<16)
}

// count reads the number of values alone.
func (w *sharedFace) count() int { return int(w[lastWord].Load() >> 24) }

// is says whether the face has the name of k. While another name takes the place
// the answer means nothing.
func (w *sharedFace) is(k *nameKey) bool {
	for i := range len(k.name) / 4 {
		if w[i].Load() != binary.LittleEndian.Uint32(k.name[4*i:]) {
			return false
		}
	}
	return w.flags()&(isText|isFree) == k.form
}

// is is sharedFace.is of a face that was read whole.
func (f *face) is(k *nameKey) bool { return f.name == k.name && f.flags&(isText|isFree) == k.form }

// change is a change of one face that is under way.
type change struct {
	during uint64 // what nameShard.version is meanwhile
	number uint32
	face   face
	older  []stamped
}

// publish makes a record show f, and values older than its newest two, which it
// keeps.
//
// Queries take no lock, and a writer that is held up in here holds up none:
// version is odd while the record is written, and who finds it so takes from
// pending, which came before, what the record is going to be.
func (s *nameShard) publish(n uint32, f face, older []stamped) {
	f.flags &^= hasOlder
	if len(older) > 0 {
		f.flags |= hasOlder
	}
	during := s.version.Load() + 1
	s.pending.Store(&change{during, n, f, older})
	s.version.Store(during)
	s.records.at(n).face.store(&f)
	s.older.set(n, older)
	s.version.Store(during + 1)
}

// read returns what a record shows, in f and the values after those. It waits for
// nobody: it starts again only when a change has ended meanwhile.
func (s *nameShard) read(n uint32, f *face) (older []stamped) {
	for {
		version := s.version.Load()
		if version%2 == 1 {
			p := s.pending.Load()
			if p.during != version {
				continue
			}
			if p.number == n {
				*f = p.face
				return p.older
			}
			// The change of another record does not matter, unless it ends and one
			// of this record begins.
		}
		s.records.at(n).face.load(f)
		older = nil
		if f.flags&hasOlder != 0 {
			older = s.older.get(n)
		}
		if s.version.Load() == version {
			return older
		}
	}
}

// serve returns what queries see of a name, in f and the values after those.
func (s *nameShard) serve(k *nameKey, f *face) (older []stamped, ok bool) {
	n, ok := s.names.first(k.hash)
	for ok {
		if older := s.read(n, f); f.is(k) {
			return older, true
		}
		// Another name has the same tag, which is rare. Or between the two the account
		// has gone, and another come to its place.
		n, ok = s.find(k)
	}
	return nil, false
}

// find returns the number of the record with a name.
func (s *nameShard) find(k *nameKey) (n uint32, ok bool) {
	return s.names.find(k.hash, func(n uint32) bool { return s.records.at(n).face.is(k) })
}
