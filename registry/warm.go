package registry

import (
	"slices"
	"unsafe"
)

// warmAtOnce is for how many names the waits for the memory overlap.
const warmAtOnce = 32

// Warm has the processor bring what AppendTXT is going to read for labels, in any
// case, step by step for all of them, so that it waits for many pieces of memory at
// once. It takes no lock, and allocates nothing. It does nothing where we cannot ask
// for that.
//
// Only names in the form of those that are drawn are looked for: for another the
// digest would cost more than is gained.
func (r *Registry) Warm(labels [][]byte) {
	if !canPrefetch {
		return
	}
	x := r.index.Load()
	for part := range slices.Chunk(labels, warmAtOnce) {
		x.warm(part)
	}
}

func (x *index) warm(labels [][]byte) {
	var keys [warmAtOnce]nameKey
	n := 0
	for _, label := range labels {
		if id, isUUID := parseCanonical(label); isUUID {
			keys[n] = nameKey{name: id, hash: x.hash(id)}
			n++
		}
	}
	for i := range keys[:n] {
		x.shard(&keys[i]).names.warm(keys[i].hash)
	}
	for i := range keys[:n] {
		k := &keys[i]
		s := x.shard(k)
		if at, ok := s.names.first(k.hash); ok {
			s.records.at(at).face.warm()
		}
	}
}

// warm is for the place at which probing begins.
func (t *table) warm(hash uint64) {
	if slots := t.slots.Load(); slots != nil {
		prefetch(unsafe.Pointer(&(*slots)[uint32(hash>>32)&uint32(len(*slots)-1)]))
	}
}

// warm is for each line of the cache that the face is in: two or three of 64 octets.
func (w *sharedFace) warm() {
	prefetch(unsafe.Pointer(&w[0]))
	prefetch(unsafe.Pointer(&w[faceWords/2]))
	prefetch(unsafe.Pointer(&w[lastWord]))
}
