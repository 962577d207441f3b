package dnsserver

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/miekg/dns"
)

// RFC 1035 §2.3.4: the sizes of names, length octets and the root included.
const (
	maxNameSize  = 255
	maxLabelSize = 63
	maxLabels    = (maxNameSize - 1) / 2
)

// name is an absolute domain name in wire form, its ASCII letters in lower case, so that names which are equal by
// RFC 4343 §3 are equal bytes. It holds no pointer and is made to be reused.
type name struct {
	wire    [maxNameSize]byte
	size    int
	offsets [maxLabels]uint8 // where each label's length octet stands in wire, leftmost first
	labels  int              // without the root
}

// read sets n to the name at msg[off:] and returns the offset behind it. Compressed names are refused: a question has
// nothing before it that a pointer could mean (RFC 1035 §4.1.4). Where it is not ok, n is the root.
func (n *name) read(msg []byte, off int) (end int, ok bool) {
	n.size, n.labels = 1, 0
	n.wire[0] = 0
	labels := 0
	for at := off; at < len(msg); labels++ {
		length := int(msg[at])
		if length == 0 {
			n.size, n.labels = at+1-off, labels
			lower(n.wire[:n.size], msg[off:at+1])
			return at + 1, true
		}
		next := at + 1 + length
		if length > maxLabelSize || next > len(msg) || next-off+1 > maxNameSize {
			return 0, false
		}
		n.offsets[labels] = uint8(at - off)
		at = next
	}
	return 0, false
}

// lower copies a name in wire form from src, its letters in lower case. To do so with the octets of the lengths as well
// changes none, as they come before the letters. dst and src have the size of the name.
func lower(dst, src []byte) {
	if len(dst) < 8 {
		for i := range dst {
			dst[i] = byte(lower8(uint64(src[i])))
		}
		return
	}
	// The last eight may begin among those before.
	for at := 0; ; at += 8 {
		at = min(at, len(dst)-8)
		binary.LittleEndian.PutUint64(dst[at:], lower8(binary.LittleEndian.Uint64(src[at:])))
		if at == len(dst)-8 {
			return
		}
	}
}

// lower8 is eight octets with the letters A to Z, and no others, in lower case (RFC 4343 §3).
func lower8(octets uint64) uint64 {
	const each, high = 0x0101010101010101, 0x80 * 0x0101010101010101
	low := octets &^ high
	fromA, behindZ := low+(0x80-'A')*each, low+(0x80-'Z'-1)*each // each tells by its high bit
	return octets | (fromA&^behindZ&^octets&high)>>2             // to 0x20, which makes a letter lower
}

// parseName reads a name in presentation form. A missing dot at the end is added.
func parseName(text string) (*name, error) {
	var wire [maxNameSize]byte
	end, err := dns.PackDomainName(dns.Fqdn(text), wire[:], 0, nil, false)
	if err != nil {
		return nil, fmt.Errorf("%q is not a domain name", text)
	}
	n := new(name)
	if _, ok := n.read(wire[:end], 0); !ok {
		return nil, fmt.Errorf("%q is not a domain name", text)
	}
	return n, nil
}

// label returns the label at index i, 0 being the leftmost.
func (n *name) label(i int) []byte {
	off := int(n.offsets[i])
	return n.wire[off+1 : off+1+int(n.wire[off])]
}

// suffix returns the last labels of n, at most as many as it has, and the root.
func (n *name) suffix(labels int) []byte {
	if labels == 0 {
		return n.wire[n.size-1 : n.size]
	}
	return n.wire[n.offsets[n.labels-labels]:n.size]
}

// within says whether n is the name zone or below it.
func (n *name) within(zone *name) bool {
	below := n.labels - zone.labels
	if below < 0 {
		return false
	}
	start := n.size - zone.size
	if below < n.labels && int(n.offsets[below]) != start {
		return false
	}
	return start >= 0 && bytes.Equal(n.wire[start:n.size], zone.wire[:zone.size])
}

func (n *name) equal(o *name) bool { return bytes.Equal(n.wire[:n.size], o.wire[:o.size]) }
