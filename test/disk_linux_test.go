package test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// disk is a model of a folder on a disk with a volatile cache. What was not
// flushed may be there after a loss of power or not, in any choice of sectors;
// what was flushed is. That a name leads to a file is flushed with the folder
// only, and names change in the order in which they were changed, as in a
// file system with a journal.
type disk struct {
	files map[string]*diskFile // as the process sees them
	named map[string]*diskFile // as they are after a loss of power
	names []naming             // not flushed

	ignores func(event) bool // a flush that is not one; nil: none
}

type diskFile struct {
	flushed []byte
	written []event // and not flushed
	size    int64   // as the process sees it
}

// naming is a change of names.
type naming struct {
	event
	file *diskFile
}

const sector = 512

// newDisk has files on it, flushed.
func newDisk(files map[string][]byte) *disk {
	d := &disk{files: map[string]*diskFile{}, named: map[string]*diskFile{}}
	for name, content := range files {
		f := &diskFile{flushed: bytes.Clone(content), size: int64(len(content))}
		d.files[name], d.named[name] = f, f
	}
	return d
}

// do applies an event.
func (d *disk) do(e event) error {
	f := d.files[e.name]
	switch e.kind {
	case eventReply:
	case eventCreate:
		if f == nil {
			f = &diskFile{}
			d.files[e.name] = f
			d.names = append(d.names, naming{e, f})
		}
	case eventRename, eventRemove:
		delete(d.files, e.name)
		if e.kind == eventRename && f != nil {
			d.files[e.to] = f
		}
		d.names = append(d.names, naming{e, f})
	case eventNames:
		n := 0
		for n < len(d.names) && d.names[n].began < e.began {
			rename(d.named, d.names[n])
			n++
		}
		d.names = d.names[n:]
	case eventWrite, eventTruncate, eventSync:
		if f == nil {
			return fmt.Errorf("%s is changed and was never made", e.name)
		}
		if e.kind != eventSync {
			f.change(e)
		} else if d.ignores == nil || !d.ignores(e) {
			f.flush(e.began)
		}
	}
	return nil
}

// rename does a change of names.
func rename(names map[string]*diskFile, n naming) {
	if n.kind == eventCreate {
		names[n.name] = n.file
		return
	}
	delete(names, n.name)
	if n.kind == eventRename {
		names[n.to] = n.file
	}
}

func (f *diskFile) change(e event) {
	if e.kind == eventTruncate {
		f.size = e.offset
	} else {
		if e.offset < 0 {
			e.offset = f.size
		}
		f.size = max(f.size, e.offset+int64(len(e.data)))
	}
	f.written = append(f.written, e)
}

// flush makes durable what was done before a flush began.
func (f *diskFile) flush(began int) {
	n := 0
	for n < len(f.written) && f.written[n].began < began {
		f.flushed = apply(f.flushed, f.written[n], 0, len(f.written[n].data))
		n++
	}
	f.written = f.written[n:]
}

// apply does a part of a change to content.
func apply(content []byte, e event, from, to int) []byte {
	grow := func(size int) {
		if size > len(content) {
			content = append(content, make([]byte, size-len(content))...)
		}
	}
	if e.kind == eventTruncate {
		grow(int(e.offset))
		return content[:e.offset]
	}
	grow(int(e.offset) + to)
	copy(content[int(e.offset)+from:], e.data[from:to])
	return content
}

// lose writes to folder what a loss of power leaves. chance is that with which a
// sector is there that was not flushed: 0 none, 1 all.
func (d *disk) lose(folder string, random *rand.Rand, chance float64) error {
	names := maps.Clone(d.named)
	for _, n := range d.names {
		if random.Float64() >= cmp.Or(chance, -1) {
			break
		}
		rename(names, n)
	}
	var errs []error
	for name, f := range names {
		content := append(make([]byte, 0, len(f.flushed)+64<<10), f.flushed...)
		for _, e := range f.written {
			if e.kind == eventTruncate {
				if random.Float64() < chance {
					content = apply(content, e, 0, 0)
				}
				continue
			}
			for from := 0; from < len(e.data); {
				to := min(len(e.data), from+sector-int(e.offset+int64(from))%sector)
				if random.Float64() < chance {
					content = apply(content, e, from, to)
				}
				from = to
			}
		}
		errs = append(errs, os.WriteFile(filepath.Join(folder, name), content, 0o600))
	}
	return errors.Join(errs...)
}
