package registry

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// parseCanonical reads a UUID of 36 characters with its dashes, in either case.
func parseCanonical(s []byte) (id uuid.UUID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, false
	}
	// Eight digits at a time, 8-4-4-4-12.
	octets := binary.LittleEndian
	a, ok1 := parseHex(octets.Uint64(s))
	b, ok2 := parseHex(uint64(octets.Uint32(s[9:])) | uint64(octets.Uint32(s[14:]))<<32)
	c, ok3 := parseHex(uint64(octets.Uint32(s[19:])) | uint64(octets.Uint32(s[24:]))<<32)
	d, ok4 := parseHex(octets.Uint64(s[28:]))
	octets.PutUint32(id[0:], a)
	octets.PutUint32(id[4:], b)
	octets.PutUint32(id[8:], c)
	octets.PutUint32(id[12:], d)
	return id, ok1 && ok2 && ok3 && ok4
}

// parseHex reads eight hexadecimal digits, the first of them in the lowest octet, as
// four octets, the first of them the lowest.
func parseHex(digits uint64) (octets uint32, ok bool) {
	const each, high = 0x0101010101010101, 0x80 * 0x0101010101010101
	// Of octets below 0x80 no sum here reaches into the next one, and each tells
	// by its high bit.
	decimal, letter := digits^'0'*each, (digits|0x20*each)^0x60*each // 0 to 9, or 1 to 6
	notDecimal := decimal + (0x80-10)*each
	notLetter := letter + (0x80-7)*each | ^(letter + (0x80-1)*each)
	ok = (digits|notDecimal&notLetter)&high == 0
	values := digits&(0xF*each) + digits>>6&each*9
	pairs := (values<<4 | values>>8) & 0x00FF00FF00FF00FF
	pairs = (pairs | pairs>>8) & 0x0000FFFF0000FFFF
	return uint32(pairs | pairs>>16), ok
}
