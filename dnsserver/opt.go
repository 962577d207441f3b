package dnsserver

import (
	"encoding/binary"
	"time"

	"github.com/miekg/dns"
)

// edns is the OPT record of a request, RFC 6891 §6.1, with the options that mean anything here.
type edns struct {
	present bool
	version uint8
	size    uint16
	do      bool
	// faulty: the options do not fill the record exactly, or one of them cannot be.
	faulty bool

	cookie    []byte // RFC 7873 §4; nil for none
	nsid      bool   // RFC 5001 §2.1
	keepalive bool   // RFC 7828 §3.1
}

// readOptions reads the options of version 0. RFC 6891 §6.1.2: unknown ones are ignored; of several of one kind the
// first counts (RFC 7873 §5.2).
func (e *edns) readOptions(options []byte) {
	if e.version > 0 {
		return
	}
	for len(options) > 0 {
		if len(options) < optionHeader {
			e.faulty = true
			return
		}
		code, size := binary.BigEndian.Uint16(options), optionHeader+int(binary.BigEndian.Uint16(options[2:]))
		if size > len(options) {
			e.faulty = true
			return
		}
		data := options[optionHeader:size:size]
		options = options[size:]
		switch code {
		case dns.EDNS0COOKIE:
			if e.cookie == nil {
				e.cookie = data
			}
		case dns.EDNS0NSID:
			e.nsid = true
		case dns.EDNS0TCPKEEPALIVE:
			// RFC 7828 §3.2.1: a client sends no time. One that does is not understood.
			e.keepalive = e.keepalive || len(data) == 0
		}
	}
}

// explanation is an extended error, RFC 8914.
type explanation struct {
	given bool
	info  uint16
	text  string
}

// options are those of a reply, beside the extended error.
type options struct {
	cookie   cookie
	nsid     string
	idleTime idleTime
}

// idleTime is the TIMEOUT of RFC 7828 §3.1, and whether it is sent.
type idleTime struct {
	given bool
	units uint16 // of 100 ms
}

// setOptions makes the options that the reply to a request gets.
func (s *Server) setOptions(q *query, from Client) {
	if q.edns.cookie != nil {
		s.setCookie(q, from.Addr.Addr())
	}
	if q.edns.nsid {
		q.options.nsid = s.NSID
	}
	if q.edns.keepalive && from.Transport == TCP { // RFC 7828 §3.3.2: over UDP it is ignored
		idle := orDefault(s.IdleTimeout, defaultIdleTimeout)
		q.options.idleTime = idleTime{true, uint16(min(idle/(100*time.Millisecond), 1<<16-1))}
	}
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
	if c := &q.options.cookie; c.given && (!q.limited || len(q.edns.cookie) >= len(c.octets)) {
		reply = appendOption(reply, dns.EDNS0COOKIE, len(c.octets))
		reply = append(reply, c.octets[:]...)
	}
	if q.limited {
		return reply
	}
	if nsid := q.options.nsid; nsid != "" {
		reply = appendOption(reply, dns.EDNS0NSID, len(nsid))
		reply = append(reply, nsid...)
	}
	if idle := q.options.idleTime; idle.given {
		reply = appendOption(reply, dns.EDNS0TCPKEEPALIVE, 2)
		reply = binary.BigEndian.AppendUint16(reply, idle.units)
	}
	if q.explanation.given {
		// RFC 8914 §2: the text is UTF-8 and does not end in a zero octet.
		reply = appendOption(reply, dns.EDNS0EDE, 2+len(q.explanation.text))
		reply = binary.BigEndian.AppendUint16(reply, q.explanation.info)
		reply = append(reply, q.explanation.text...)
	}
	return reply
}

// optionHeader is the size of what is before the data of an option, RFC 6891 §6.1.2.
const optionHeader = 4

// appendOption begins an option of the given size.
func appendOption(reply []byte, code uint16, size int) []byte {
	reply = binary.BigEndian.AppendUint16(reply, code)
	return binary.BigEndian.AppendUint16(reply, uint16(size))
}
