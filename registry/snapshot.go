package registry

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
)

// maxSaved bounds the names that change while a snapshot is read, and so its
// memory.
const maxSaved = 1 << 18

var errSnapshot = errors.New("too much has changed since the snapshot began")

// snapshot is an index as it was between two batches. It copies one shard at a
// time, while the index goes on: what changes in a shard that was not copied yet
// is saved here before.
type snapshot struct {
	mu      sync.Mutex
	copied  [shardCount]bool
	saved   [shardCount]map[string][]byte // the values that a name had
	names   int                           // in saved
	tooMany bool
}

// save keeps what names have before they change. It is called while the index
// still is as it was.
func (s *snapshot) save(x *index, names []nameChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range names {
		c := &names[i]
		shard := x.shardOf(c.label)
		if _, ok := s.saved[shard][c.label]; ok || s.copied[shard] {
			continue
		}
		if s.names++; s.names > maxSaved {
			s.tooMany = true
			return
		}
		put(&s.saved[shard], c.label, c.before)
	}
}

// copyShard appends the names of a shard that had values when the snapshot began.
// Writers of the shard wait for it: some milliseconds, if there are a million
// names.
func (s *snapshot) copyShard(x *index, i int, dst []copiedRecord) ([]copiedRecord, map[string][]byte, error) {
	shard := &x.names[i]
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tooMany {
		return nil, nil, errSnapshot
	}
	for n := range shard.records.len {
		var c copiedRecord
		if shard.records.at(n).face.load(&c.face); c.flags&isFree != 0 || c.count == 0 {
			continue
		}
		if c.flags&hasSpelling != 0 {
			c.spelling = shard.spelling[n]
		}
		if c.flags&hasOlder != 0 {
			c.older = shard.older.get(n) // never changed in place
		}
		dst = append(dst, c)
	}
	s.copied[i] = true
	saved := s.saved[i]
	s.names -= len(saved)
	s.saved[i] = nil
	return dst, saved, nil
}

// copiedRecord is what a record shows, with what belongs to it.
type copiedRecord struct {
	face
	spelling string
	older    []stamped
}

// Snapshot calls begin with a serial, and then each for every name that had
// values at that serial, with all its values as AppendTXT gives them. What each
// is given is good during the call only. The registry goes on meanwhile: writers
// wait for none of the calls. The memory is that of a small part of the names.
//
// The first error of begin or of each ends Snapshot and is returned. Others: that
// of AppendTXT, ErrRecords, and that too much has changed meanwhile.
func (r *Registry) Snapshot(ctx context.Context, begin func(serial uint32) error, each func(label, values []byte) error) error {
	x := r.index.Load()
	s := new(snapshot)
	j := &x.journal
	j.mu.Lock()
	put(&j.snapshots, s, struct{}{})
	serial, own := uint32(x.serial.Load()), *x.own.Load()
	j.mu.Unlock()
	err := cmp.Or(r.fresh(), r.sameRecords()) // after the serial, so that it is of that
	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.snapshots, s)
	}()

	if err != nil {
		return err
	}
	if err := begin(serial); err != nil {
		return err
	}
	var values []byte
	if values = appendOwn(values, own); len(values) > 0 {
		if err := each([]byte(OwnLabel), values); err != nil {
			return err
		}
	}
	var label []byte
	var records []copiedRecord
	for i := range x.names {
		var saved map[string][]byte
		var err error
		if records, saved, err = s.copyShard(x, i, records[:0]); err != nil {
			return err
		}
		for n := range records {
			c := &records[n]
			label = c.appendLabel(label[:0])
			if _, changed := saved[string(label)]; changed || ctx.Err() != nil {
				continue
			}
			values = c.appendTXT(values[:0], c.older)
			if err := each(label, values); err != nil {
				return err
			}
		}
		for text, values := range saved {
			if text == OwnLabel || len(values) == 0 {
				continue
			}
			if err := each([]byte(text), values); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		clear(records)
	}
	return nil
}

// appendLabel appends the name in lower case.
func (c *copiedRecord) appendLabel(dst []byte) []byte {
	if c.spelling != "" {
		return append(dst, lowerASCII(c.spelling)...)
	}
	dst = slices.Grow(dst, 36)[:len(dst)+36]
	copy(dst[len(dst)-36:], c.name.String())
	return dst
}

// shardOf returns the number of the shard of a name in lower case.
func (x *index) shardOf(label string) uint64 {
	k := x.key([]byte(label))
	return k.hash % shardCount
}
