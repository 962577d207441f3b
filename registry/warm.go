package registry

import "slices"

// warmAtOnce is for how many names the waits for the memory overlap.
const warmAtOnce = 32

// Warm reads what AppendTXT is going to read for labels, in any case, step by step
// for all of them, so that the processor waits for many pieces of memory at once. It
// takes no lock, and allocates nothing.
//
// Only names in the form of those that are drawn are looked for: for another the
// digest would cost more than is gained.
func (r *Registry) Warm(labels [][]byte) {
	x := r.index.Load()
	for part := range slices.Chunk(labels, warmAtOnce) {
		x.warm(part)
	}
}

// warm has a loop for each step, and little in it: loads on which nothing depends
// overlap as far as the processor looks ahead. On amd64 that is further than with
// instructions to prefetch.
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
	var faces [warmAtOnce]*sharedFace
	found := 0
	for i := range keys[:n] {
		k := &keys[i]
		s := x.shard(k)
		if at, ok := s.names.first(k.hash); ok {
			faces[found] = &s.records.at(at).face
			found++
		}
	}
	for _, f := range faces[:found] {
		f.warm()
	}
}

// warm is for the place at which probing begins.
func (t *table) warm(hash uint64) {
	if slots := t.slots.Load(); slots != nil {
		(*slots)[uint32(hash>>32)&uint32(len(*slots)-1)].Load()
	}
}

// warm is for each line of the cache that the face is in: two or three of 64 octets.
func (w *sharedFace) warm() {
	w[0].Load()
	w[faceWords/2].Load()
	w[lastWord].Load()
}
