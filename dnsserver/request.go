package dnsserver

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

const (
	headerSize = 12    // RFC 1035 §4.1.1
	minUDPSize = 512   // RFC 1035 §4.2.1: what every client takes
	udpSize    = 1232  // what we offer, and send at most: an IPv6 packet of 1280 octets that nothing fragments
	maxMessage = 65535 // RFC 1035 §4.2.2: what the length prefix of TCP can say
)

// request is a query as far as it could be read. It refers to the message's bytes, copies none, and is made to be reused.
type request struct {
	bits     uint16 // the second word of the header
	counts   [4]uint16
	question []byte // as it came; nil when there is not exactly one that can be read
	name     name
	qtype    uint16
	qclass   uint16
	edns     edns
	tsig     tsigRecord
	serial   soaSerial
	// malformed: the sections do not fill the message exactly, or something in them cannot be.
	malformed bool
}

// parse reads msg, of which the caller knows that it holds a header. What comes before a fault stays readable, so that
// an error reply can echo the question and speak EDNS.
func (r *request) parse(msg []byte) {
	r.bits = binary.BigEndian.Uint16(msg[2:])
	for i := range r.counts {
		r.counts[i] = binary.BigEndian.Uint16(msg[4+2*i:])
	}
	r.question, r.edns, r.qtype, r.qclass = nil, edns{}, 0, 0
	r.tsig.present, r.serial = false, soaSerial{}
	r.malformed = true

	off, ok := r.readQuestions(msg)
	if !ok {
		return
	}
	for section := 1; section <= 3; section++ {
		for range r.counts[section] {
			if off, ok = r.readRecord(msg, off, section); !ok {
				return
			}
		}
	}
	r.malformed = off != len(msg) // bytes behind the last record belong to nothing
}

func (r *request) readQuestions(msg []byte) (off int, ok bool) {
	off = headerSize
	for range r.counts[0] {
		end, ok := r.name.read(msg, off)
		if !ok || end+4 > len(msg) {
			return 0, false
		}
		r.qtype = binary.BigEndian.Uint16(msg[end:])
		r.qclass = binary.BigEndian.Uint16(msg[end+2:])
		off = end + 4
	}
	if r.counts[0] == 1 {
		r.question = msg[headerSize:off]
	}
	return off, true
}

// soaSerial is the serial of the SOA record that a client sent in the authority section, RFC 1995 §3.
type soaSerial struct {
	present bool
	value   uint32
}

// readRecord passes over the record at off. Of the records that a query can carry these mean something here: OPT, TSIG,
// and the SOA of an IXFR.
func (r *request) readRecord(msg []byte, off, section int) (end int, ok bool) {
	owner := off
	off, ok = skipName(msg, off)
	if !ok || off+10 > len(msg) {
		return 0, false
	}
	fixed := msg[off : off+10]
	end = off + 10 + int(binary.BigEndian.Uint16(fixed[8:]))
	if end > len(msg) {
		return 0, false
	}
	if r.tsig.present {
		return 0, false // RFC 8945 §5.1: it is the last
	}
	switch binary.BigEndian.Uint16(fixed) {
	case dns.TypeOPT:
	case dns.TypeTSIG:
		return end, section == 3 && r.tsig.read(msg, owner, off, end)
	case dns.TypeSOA:
		return end, section != 2 || r.serial.read(msg, off+10, end)
	default:
		return end, true
	}
	// RFC 6891 §6.1.1: one OPT at most, in the additional section; §6.1.2: its name is the root.
	if section != 3 || r.edns.present || msg[owner] != 0 {
		return 0, false
	}
	r.edns = edns{
		present: true,
		size:    binary.BigEndian.Uint16(fixed[2:]),
		version: fixed[5],
		do:      fixed[6]&0x80 != 0,
	}
	r.edns.readOptions(msg[off+10 : end])
	return end, true
}

// read takes the serial from the data of an SOA record, msg[off:end].
func (s *soaSerial) read(msg []byte, off, end int) (ok bool) {
	for range 2 { // the primary server, the mailbox
		if off, ok = skipName(msg[:end], off); !ok {
			return false
		}
	}
	if end-off != 20 {
		return false
	}
	s.present, s.value = true, binary.BigEndian.Uint32(msg[off:])
	return true
}

// skipName passes over a name that may end in a compression pointer, without following it.
func skipName(msg []byte, off int) (end int, ok bool) {
	for off < len(msg) {
		switch length := int(msg[off]); {
		case length == 0:
			return off + 1, true
		case length >= 0xC0:
			return off + 2, off+2 <= len(msg)
		case length > maxLabelSize:
			return 0, false
		default:
			off += 1 + length
		}
	}
	return 0, false
}

// fault returns the RCODE which the form of the request earns, and why, or RcodeSuccess for a query that can be looked up.
func (r *request) fault() (rcode int, why explanation) {
	formErr := func(text string) (int, explanation) {
		return dns.RcodeFormatError, explanation{true, dns.ExtendedErrorCodeOther, text}
	}
	switch {
	case r.opcode() != dns.OpcodeQuery:
		// RFC 1035 §4.1.1. First of all, since only the opcode says what the rest of the message means.
		return dns.RcodeNotImplemented, explanation{true, dns.ExtendedErrorCodeNotSupported, "only queries are answered"}
	case r.malformed:
		return formErr("the message cannot be read to its end, or goes on behind it")
	case r.edns.version > 0:
		// RFC 6891 §6.1.3. Before what another version may see in another way, such as the options; but not before the form
		// of the message, which is none of EDNS.
		return dns.RcodeBadVers, explanation{}
	case r.question == nil && !r.asksCookie():
		return formErr("a query has one question") // RFC 1035 §4.1.2, and RFC 9619 §4 of more than one
	case r.bits&0xF != 0, r.counts[1] != 0:
		return formErr("a query has neither an RCODE nor an answer")
	case r.edns.faulty:
		return formErr("an EDNS option has a wrong length")
	case r.counts[2] != 0 && r.qtype != dns.TypeIXFR:
		// RFC 1995 §3: IXFR alone brings a record, the SOA that the client has.
		return formErr("a query has no authority section")
	}
	return dns.RcodeSuccess, explanation{}
}

// asksCookie: RFC 7873 §5.4, a query without a question is for a cookie.
func (r *request) asksCookie() bool { return r.counts[0] == 0 && r.edns.cookie != nil }

func (r *request) opcode() int { return int(r.bits>>11) & 0xF }

func (r *request) recursionDesired() bool { return r.bits&0x0100 != 0 }

// limit is the size of the largest reply that may be sent, RFC 6891 §6.2.3 and §6.2.5.
func (r *request) limit(t Transport) int {
	if t != UDP {
		return maxMessage
	}
	if !r.edns.present {
		return minUDPSize
	}
	return max(minUDPSize, min(int(r.edns.size), udpSize))
}
