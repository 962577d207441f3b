package dnsserver

import (
	"crypto/hmac"
	"encoding/binary"
	"time"

	"github.com/miekg/dns"
)

// tsigFudge is how many seconds the clocks of both ends may differ, RFC 8945 §10.
const tsigFudge = 300

// tsigRecord is the TSIG record of a message that was received, RFC 8945 §4.2.
type tsigRecord struct {
	present   bool
	offset    int // of the record in the message
	name      name
	algorithm name
	mac       []byte
	id        uint16
	tsig
}

// read takes a TSIG record from msg[off:end], of which fixed is the part behind the name. ok is false for one that
// cannot be.
func (r *tsigRecord) read(msg []byte, off, fixed, end int) (ok bool) {
	// RFC 8945 §4.2: class ANY, TTL 0, and names that are not compressed.
	if after, ok := r.name.read(msg, off); !ok || after != fixed ||
		binary.BigEndian.Uint16(msg[fixed+2:]) != dns.ClassANY || binary.BigEndian.Uint32(msg[fixed+4:]) != 0 {
		return false
	}
	data, ok := r.algorithm.read(msg[:end], fixed+10)
	if !ok || data+10 > end {
		return false
	}
	b := msg[data:end]
	r.time = uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
	r.fudge = binary.BigEndian.Uint16(b[6:])
	size := int(binary.BigEndian.Uint16(b[8:]))
	if b = b[10:]; len(b) < size+6 {
		return false
	}
	r.mac = b[:size]
	b = b[size:]
	r.id, r.code = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if r.other = b[6:]; len(r.other) != int(binary.BigEndian.Uint16(b[4:])) {
		return false
	}
	r.present, r.offset = true, off
	return true
}

// signed returns the message as it was signed: RFC 8945 §5.2.1, without the TSIG and with its own ID.
func (r *tsigRecord) signed(msg []byte) []byte {
	msg = append([]byte(nil), msg[:r.offset]...)
	binary.BigEndian.PutUint16(msg, r.id)
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])-1)
	return msg
}

// verify checks the record by RFC 8945 §5.2, in that order, and returns the error for the reply's TSIG, or
// dns.RcodeFormatError for a MAC that cannot be. prior is as for key.mac. The key is nil if it is not known.
func (r *tsigRecord) verify(ring *Keyring, prior, msg []byte, now time.Time) (*key, uint16) {
	k := ring.find(&r.name)
	if k == nil || !k.algorithm.equal(&r.algorithm) {
		return nil, dns.RcodeBadKey
	}
	size := k.hash().Size()
	if len(r.mac) > size || len(r.mac) < max(10, size/2) {
		return nil, dns.RcodeFormatError // §5.2.2.1
	}
	// Before the MAC is known to be right all else is anybody's. Of one that is truncated all octets count that are there.
	if whole := k.mac(prior, r.signed(msg), &r.tsig, false); !hmac.Equal(whole[:len(r.mac)], r.mac) {
		return k, dns.RcodeBadSig
	}
	if ago := now.Unix() - int64(r.time); ago > int64(r.fudge) || -ago > int64(r.fudge) {
		return k, dns.RcodeBadTime
	}
	if len(r.mac) < size {
		return k, dns.RcodeBadTrunc // nobody needs truncation, and every octet of it is one less to guess
	}
	return k, dns.RcodeSuccess
}

// signature is how the reply to a request is to be signed.
type signature struct {
	key   *key // nil: the reply has no MAC
	prior []byte
	later bool // a message of the sequence was signed before
	tsig
}

// authenticate checks the signature of a request. It returns false if the reply is an error, which is then in q.
func (s *Server) authenticate(q *query, request []byte) bool {
	now := s.now()
	k, code := q.tsig.verify(s.Keys, nil, request, now)
	if code == dns.RcodeFormatError {
		q.tsig.present = false // §5.2.2.1: the reply has none
		q.refuse(dns.RcodeFormatError, dns.ExtendedErrorCodeOther, "the MAC of the TSIG has a length that cannot be")
		return false
	}
	q.signature = signature{key: k, tsig: tsig{time: uint64(now.Unix()), fudge: tsigFudge, code: code}}
	switch code {
	case dns.RcodeSuccess:
		q.signature.prior = q.tsig.mac
		return true
	case dns.RcodeBadTime:
		// §5.2.3: signed, with the client's time, and our own beside it.
		q.signature.prior = q.tsig.mac
		q.signature.time = q.tsig.time
		q.signature.other = (&tsig{time: uint64(now.Unix())}).appendTimes(nil)[:6]
	case dns.RcodeBadTrunc:
		q.signature.prior = q.tsig.mac
	default:
		q.signature.key = nil // §5.3.2: an error about the key or the MAC is not signed
	}
	// The extended error repeats what the TSIG says, for those who look at nothing else.
	q.refuse(dns.RcodeNotAuth, dns.ExtendedErrorCodeOther, map[uint16]string{
		dns.RcodeBadKey:   "the TSIG key is not known here, or has another algorithm",
		dns.RcodeBadSig:   "the TSIG signature is wrong: the secret is another one here",
		dns.RcodeBadTime:  "the TSIG time is too far from the server's: a clock is wrong",
		dns.RcodeBadTrunc: "the TSIG signature is truncated",
	}[code])
	return false
}

// tsigSize is the size of the TSIG record of the reply.
func (q *query) tsigSize() int {
	if !q.tsig.present {
		return 0
	}
	size := q.tsig.name.size + 10 + q.tsig.algorithm.size + 16 + len(q.signature.other)
	if k := q.signature.key; k != nil {
		size += k.hash().Size()
	}
	return size
}

// appendTSIG signs a reply that is complete but for that, RFC 8945 §5.3, if the request was signed.
func (q *query) appendTSIG(reply []byte) []byte {
	if !q.tsig.present {
		return reply
	}
	s := &q.signature
	var mac []byte
	if s.key != nil {
		mac = s.key.mac(s.prior, reply, &s.tsig, s.later)
		s.prior, s.later = mac, true // §5.3.1: each message of a sequence signs the MAC of the one before
	}
	return appendTSIG(reply, &q.tsig.name, &q.tsig.algorithm, &s.tsig, mac)
}

// appendTSIG appends a TSIG record to a message.
func appendTSIG(msg []byte, owner, algorithm *name, t *tsig, mac []byte) []byte {
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])+1)
	id := binary.BigEndian.Uint16(msg)
	msg = append(msg, owner.wire[:owner.size]...)
	msg = binary.BigEndian.AppendUint16(msg, dns.TypeTSIG)
	msg = binary.BigEndian.AppendUint16(msg, dns.ClassANY)
	msg = binary.BigEndian.AppendUint32(msg, 0)
	msg = binary.BigEndian.AppendUint16(msg, uint16(algorithm.size+16+len(mac)+len(t.other)))
	msg = append(msg, algorithm.wire[:algorithm.size]...)
	msg = t.appendTimes(msg)
	msg = append(binary.BigEndian.AppendUint16(msg, uint16(len(mac))), mac...)
	msg = binary.BigEndian.AppendUint16(msg, id)
	msg = binary.BigEndian.AppendUint16(msg, t.code)
	return append(binary.BigEndian.AppendUint16(msg, uint16(len(t.other))), t.other...)
}
