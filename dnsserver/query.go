package dnsserver

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// query is a request, the reply to it as it grows, and the memory of both, which is used again for other queries.
type query struct {
	request
	qname string // the question's name in presentation form, in the client's case

	rcode         int
	authoritative bool
	truncated     bool
	answer        []dns.RR
	authority     []dns.RR
	additional    []dns.RR
	dispensable   bool // additional is a service to the client, and left out where it does not fit
	explanation   explanation
	options       options
	limited       bool      // by the rate of replies: this one is not larger than the request
	signature     signature // of the reply, where tsig.present
	sent          int       // octets of a transfer

	// Records that are made for this reply.
	values  valueList
	txt     []dns.TXT
	soa     dns.SOA
	section [1]dns.Question
}

// reset makes q ready for the next request, and lets go of this one.
func (q *query) reset() {
	clear(q.answer)
	clear(q.authority)
	clear(q.additional)
	q.qname, q.rcode, q.authoritative, q.truncated, q.explanation = "", dns.RcodeSuccess, false, false, explanation{}
	q.answer, q.authority, q.additional = q.answer[:0], q.authority[:0], q.additional[:0]
	q.values, q.txt = q.values[:0], q.txt[:0]
	q.question, q.edns, q.options = nil, edns{}, options{}
	q.dispensable, q.limited = false, false
	q.tsig.present, q.tsig.mac, q.tsig.other, q.signature, q.sent = false, nil, nil, signature{}, 0
}

// refuse replaces what was found by an error. The text, sent to clients that speak EDNS, says why (RFC 8914 §2).
func (q *query) refuse(rcode int, info uint16, text string) {
	q.rcode, q.authoritative = rcode, false
	q.answer, q.authority, q.additional = q.answer[:0], q.authority[:0], q.additional[:0]
	q.explain(info, text)
}

func (q *query) explain(info uint16, text string) {
	q.explanation = explanation{given: true, info: info, text: text}
}

// refuseUnread is for what depends on Names, when they cannot tell.
func (q *query) refuseUnread() {
	q.refuse(dns.RcodeServerFailure, dns.ExtendedErrorCodeNotReady, "the registered names cannot be read now")
}

// explainUnset tells the owner of a name that asks too early from one that asks for a wrong name.
func (q *query) explainUnset() {
	q.explain(dns.ExtendedErrorCodeOther, "this name is registered, but no challenge value has been set")
}

// ask asks names for a label below the origin, and keeps its values.
func (q *query) ask(names Names, label []byte) (registered bool, err error) {
	q.values, registered, err = names.AppendTXT(q.values[:0], label)
	return registered, err
}

// soaRecord makes the zone's SOA with the given TTL.
func (q *query) soaRecord(z *Zone, ttl uint32) dns.RR {
	q.soa = z.soa
	q.soa.Serial = z.serial()
	q.soa.Hdr.Ttl = ttl
	return &q.soa
}

// appendSet puts set into the answer at owner: the name as the client wrote it, so that it compresses to the question,
// or as the CNAME before it did. A wildcard's records are synthesized by this too, RFC 4592 §3.3.1.
func (q *query) appendSet(set *rrset, owner string) { q.answer = set.appendTo(q.answer, owner) }

// appendValues puts the values that Names gave into the answer, except those that are among its records from start on:
// RFC 2181 §5, a set has no duplicates.
func (q *query) appendValues(owner string, ttl uint32, start int) {
	static := q.answer[start:]
	if count := q.values.count(); count > cap(q.txt) {
		q.txt = make([]dns.TXT, 0, count) // at once, since pointers into it go into the answer
	}
	for value := range q.values.all() {
		i := len(q.txt)
		q.txt = q.txt[:i+1]
		q.txt[i].Hdr = dns.RR_Header{Name: owner, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: ttl}
		q.txt[i].Txt = appendStrings(q.txt[i].Txt[:0], string(value))
		if slices.ContainsFunc(static, func(rr dns.RR) bool { return dns.IsDuplicate(rr, &q.txt[i]) }) {
			continue
		}
		q.answer = append(q.answer, &q.txt[i])
	}
}

// maxString is the size of the largest character-string, RFC 1035 §3.3.
const maxString = 255

// appendStrings splits a value into the character-strings of a TXT record, which a validator joins again. miekg/dns takes a backslash in them for the start of an escape.
func appendStrings(dst []string, value string) []string {
	for len(value) > maxString {
		dst = append(dst, escapeString(value[:maxString]))
		value = value[maxString:]
	}
	return append(dst, escapeString(value))
}

func escapeString(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.ReplaceAll(s, `\`, `\\`)
}

// visited says whether the answer already has a CNAME at the name: the chain is a loop.
func (q *query) visited(target *name) bool {
	for _, rr := range q.answer {
		if owner, err := parseName(rr.Header().Name); err == nil && owner.equal(target) {
			return true
		}
	}
	return false
}

// pack writes the reply, into dst where there is room. A reply over limit goes without what it can do without, or else is
// sent without records and with TC: half an RRset would be taken for a whole one (RFC 2181 §9).
func (q *query) pack(dst, request []byte, limit int) ([]byte, error) {
	for {
		reply, err := q.message(request).PackBuffer(dst[:cap(dst)])
		if err != nil {
			return nil, err
		}
		reply = q.appendOPT(reply)
		over, nsid := len(reply)+q.tsigSize()-limit, len(q.options.nsid)
		switch {
		case over <= 0:
			return q.appendTSIG(reply), nil
		case q.dispensable && len(q.additional) > 0:
			q.additional = q.additional[:0] // RFC 2181 §9: that it is missing is no reason for TC
		case nsid > 0 && (over <= optionHeader+nsid || q.truncated):
			q.options.nsid = "" // RFC 5001 §2.2: a server sends it where it chooses to
		case q.truncated:
			return reply, nil // names as long as they can be: TC leads to TCP, where it fits
		case limit == maxMessage:
			return nil, errTooLarge // where should TC send the client?
		default:
			q.truncated = true
			q.answer, q.authority, q.additional = q.answer[:0], q.authority[:0], q.additional[:0]
		}
	}
}

var errTooLarge = errors.New("over 65535 octets")

func (q *query) message(request []byte) *dns.Msg {
	m := &dns.Msg{
		MsgHdr: dns.MsgHdr{
			Id:               binary.BigEndian.Uint16(request),
			Response:         true,
			Opcode:           q.opcode(),
			Authoritative:    q.authoritative,
			Truncated:        q.truncated,
			RecursionDesired: q.recursionDesired(), // RFC 1035 §4.1.1
			Rcode:            q.rcode & 0xF,        // RFC 6891 §6.1.3: the other bits are in OPT
			// RA, Z and AD stay clear, and so does CD: RFC 4035 §3.1.6, it is the business of resolvers.
		},
		Compress: true,
		Answer:   q.answer,
		Ns:       q.authority,
		Extra:    q.additional,
	}
	if q.question != nil {
		q.section[0] = dns.Question{Name: q.qname, Qtype: q.qtype, Qclass: q.qclass}
		m.Question = q.section[:]
	}
	return m
}

// serverFailure makes the reply for a request that could not be answered, from its header alone.
func serverFailure(dst, request []byte) []byte {
	reply := append(dst[:0], make([]byte, headerSize)...)
	copy(reply, request[:2])
	reply[2] = 0x80 | request[2]&0x79 // QR; opcode and RD copied
	reply[3] = dns.RcodeServerFailure
	return reply
}
