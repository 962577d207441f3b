package dnsserver

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// questionPointer is a compression pointer to the question's name, RFC 1035 §4.1.4.
const questionPointer = 0xC000 | headerSize

// answerWire replies to the question that nearly all clients have, one about a name one label below the origin that has
// no static records: from the octets of the request and of the values, without miekg/dns and without allocation. The
// reply is the one that the long way gives, octet by octet. Not ok: the long way has to be taken, and q is as before.
func (s *Server) answerWire(q *query, dst, request []byte, limit int) (reply []byte, ok bool) {
	if fault, _ := q.fault(); fault != dns.RcodeSuccess || q.question == nil || q.qclass != dns.ClassINET || !isDataType(q.qtype) ||
		q.tsig.present {
		return nil, false
	}
	z := s.Zones.zoneFor(&q.name, q.qtype)
	if z == nil || q.name.labels != z.origin.labels+1 || !z.wire.takes(z, q.name.label(0)) {
		return nil, false
	}
	registered, err := q.ask(z.names, q.name.label(0))
	if err != nil {
		return nil, false
	}
	reply = q.appendHeader(dst[:0], request)
	if wantsTXT := q.qtype == dns.TypeTXT || q.qtype == dns.TypeANY; registered && wantsTXT && len(q.values) > 0 {
		reply = q.appendValuesWire(reply, z.ttl)
	} else {
		reply = z.wire.appendSOA(reply, q.question, z)
	}
	switch {
	case !registered:
		q.rcode = dns.RcodeNameError
		reply[3] = dns.RcodeNameError
	case q.qtype == dns.TypeTXT && len(q.values) == 0:
		q.explainUnset()
	}
	if reply = q.appendOPT(reply); len(reply) > limit {
		q.rcode, q.explanation = dns.RcodeSuccess, explanation{}
		return nil, false
	}
	q.authoritative = true
	return reply, true
}

// isDataType says whether a type is one that data can have, or ANY. RFC 6895 §3.1.
func isDataType(qtype uint16) bool {
	return qtype != 0 && qtype != dns.TypeOPT && (qtype < 128 || qtype >= dns.TypeANY)
}

// appendHeader appends the header of an authoritative reply and the question, RFC 1035 §4.1.1. The counts of records
// are zero still.
func (q *query) appendHeader(reply, request []byte) []byte {
	reply = append(reply, request[0], request[1], 0x84|request[2]&1, 0, 0, 1, 0, 0, 0, 0, 0, 0) // QR, AA and RD
	return append(reply, q.question...)
}

// appendValuesWire appends the values that Names gave as the answer.
func (q *query) appendValuesWire(reply []byte, ttl uint32) []byte {
	count := uint16(0)
	for value := range q.values.all() {
		count++
		reply = binary.BigEndian.AppendUint16(reply, questionPointer)
		reply = binary.BigEndian.AppendUint16(reply, dns.TypeTXT)
		reply = binary.BigEndian.AppendUint16(reply, dns.ClassINET)
		reply = binary.BigEndian.AppendUint32(reply, ttl)
		size := len(reply)
		reply = append(reply, 0, 0)
		// As in appendStrings. A value too large for a record makes the reply too large as well.
		for len(value) > maxString {
			reply = append(append(reply, maxString), value[:maxString]...)
			value = value[maxString:]
		}
		reply = append(append(reply, byte(len(value))), value...)
		binary.BigEndian.PutUint16(reply[size:], uint16(len(reply)-size-2))
	}
	binary.BigEndian.PutUint16(reply[6:], count)
	return reply
}
