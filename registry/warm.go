package registry

import (
	"runtime"
	"slices"
)

const (
	// warmAtOnce is for how many names the waits for the memory overlap.
	warmAtOnce = 32
	// loadsOverlap: an atomic load is one like others on amd64. Elsewhere those that
	// follow wait for it, and nothing is gained.
	loadsOverlap = runtime.GOARCH == "amd64"
)

// Warm reads what AppendTXT is going to read for labels, in any case, step by step
// for all of them, so that the processor waits for many pieces of memory at once.
// It takes no lock, and allocates nothing. It does nothing where loads do not overlap.
//
// Only names in the form of those that are drawn are read: for another the digest
// would cost more than is gained.
func (r *Registry) Warm(labels [][]byte) {
	if !loadsOverlap {
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
	// No step may have to guess what the memory of the step before holds: with a
	// wrong guess the processor throws away what it has begun.
	for i := range keys[:n] {
		x.shard(&keys[i]).names.warm(keys[i].hash)
	}
	for i := range keys[:n] {
		k := &keys[i]
		s := x.shard(k)
		if at, ok := s.names.find(k.hash, func(uint32) bool { return true }); ok {
			s.records.at(at).face.warm()
		}
	}
}

// warm reads the place at which probing begins.
func (t *table) warm(hash uint64) {
	if slots := t.slots.Load(); slots != nil {
		(*slots)[uint32(hash>>32)&uint32(len(*slots)-1)].Load()
	}
}

// warm reads a word of each line of the cache.
func (w *sharedFace) warm() {
	w[0].Load()
	w[faceWords/2].Load()
	w[lastWord].Load()
}
