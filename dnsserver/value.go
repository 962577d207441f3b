package dnsserver

import (
	"encoding/binary"
	"iter"
)

// valueList is what Names gave for a name: values with their lengths before them, see Names.
type valueList []byte

// count returns the number of values.
func (l valueList) count() (n int) {
	for range l.all() {
		n++
	}
	return n
}

// all visits the values in their order.
func (l valueList) all() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for rest := l; len(rest) > 0; {
			end := 2 + int(binary.BigEndian.Uint16(rest))
			if !yield(rest[2:end]) {
				return
			}
			rest = rest[end:]
		}
	}
}
