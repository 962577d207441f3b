package dnsserver

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// explanation is an extended error, RFC 8914.
type explanation struct {
	given bool
	info  uint16
	text  string
}

// appendOPT appends the OPT record to a reply that is complete but for it. RFC 6891 §6.1.1: a request with one is always
// answered with one, of our version, with our size, and with none of the options that we do not know, and a request
// without gets none. §6.1.4: DO is copied, Z is zero.
func (q *query) appendOPT(reply []byte) []byte {
	if !q.edns.present {
		return reply
	}
	counts := reply[4:headerSize]
	binary.BigEndian.PutUint16(counts[6:], binary.BigEndian.Uint16(counts[6:])+1)
	reply = append(reply, 0) // the root
	reply = binary.BigEndian.AppendUint16(reply, dns.TypeOPT)
	reply = binary.BigEndian.AppendUint16(reply, udpSize)
	var flags byte
	if q.edns.do {
		flags = 0x80
	}
	reply = append(reply, byte(q.rcode>>4), 0, flags, 0)
	size := len(reply)
	reply = append(reply, 0, 0)
	reply = q.appendOptions(reply)
	binary.BigEndian.PutUint16(reply[size:], uint16(len(reply)-size-2))
	return reply
}

// appendOptions appends the options of the reply.
func (q *query) appendOptions(reply []byte) []byte {
	if q.explanation.given {
		// RFC 8914 §2: the text is UTF-8 and does not end in a zero octet.
		reply = appendOption(reply, dns.EDNS0EDE, 2+len(q.explanation.text))
		reply = binary.BigEndian.AppendUint16(reply, q.explanation.info)
		reply = append(reply, q.explanation.text...)
	}
	return reply
}

// appendOption begins an option of the given size, RFC 6891 §6.1.2.
func appendOption(reply []byte, code uint16, size int) []byte {
	reply = binary.BigEndian.AppendUint16(reply, code)
	return binary.BigEndian.AppendUint16(reply, uint16(size))
}
