package dnsserver

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/miekg/dns"
)

// maxPointer is the last octet of a message that a compression pointer can mean, RFC 1035 §4.1.4.
const maxPointer = 1<<14 - 1

var errSend = errors.New("the client does not take it")

// transferWriter collects records in messages and sends each when it is full. Its memory is that of one message.
type transferWriter struct {
	zone *Zone
	q    *query
	to   sender

	msg         []byte
	limit       int // of msg, so that OPT and TSIG fit behind it
	answers     uint16
	compression map[string]int // names in msg, for miekg/dns
	origin      int            // where the zone's name begins in msg; 0: nowhere yet
	owner       int            // where the label of the last text begins in msg; 0: nowhere
	label       []byte         // the last text's

	style    string
	serial   uint32
	messages int
	sent     int
}

func newTransferWriter(z *Zone, q *query, request []byte, to sender) *transferWriter {
	w := &transferWriter{
		zone: z, q: q, to: to,
		msg:         make([]byte, headerSize, maxMessage),
		limit:       maxMessage - len(q.appendOPT(make([]byte, headerSize))) + headerSize - q.tsigSize(),
		compression: make(map[string]int),
	}
	copy(w.msg, request[:2])
	w.msg[2] = 0x84 | request[2]&0x01 // QR, AA, RD copied: RFC 5936 §2.2.1
	// RFC 5936 §2.2.2: the question is in the first message, and need not be in others.
	binary.BigEndian.PutUint16(w.msg[4:], 1)
	w.msg = append(w.msg, q.question...)
	return w
}

// next begins another message.
func (w *transferWriter) next() {
	w.msg = w.msg[:headerSize]
	clear(w.msg[4:])
	clear(w.compression)
	w.answers, w.origin, w.owner = 0, 0, 0
}

// flush sends the message.
func (w *transferWriter) flush() error {
	if w.answers == 0 {
		return nil
	}
	binary.BigEndian.PutUint16(w.msg[6:], w.answers)
	msg := w.msg
	if w.messages == 0 {
		msg = w.q.appendOPT(msg) // RFC 5936 §2.2.5: in the first message
	}
	msg = w.q.appendTSIG(msg)
	if err := w.to.send(msg); err != nil {
		return fmt.Errorf("%w: %w", errSend, err)
	}
	w.messages++
	w.sent += len(msg)
	w.next()
	return nil
}

// addSOA adds the zone's SOA with a serial.
func (w *transferWriter) addSOA(serial uint32) error {
	soa := w.zone.soa
	soa.Serial = serial
	return w.add(&soa)
}

// add adds a record.
func (w *transferWriter) add(rr dns.RR) error {
	rr = dns.Copy(rr) // PackRR writes the size of the data into it, and others read the zone's
	for {
		end, err := dns.PackRR(rr, w.msg[:w.limit], len(w.msg), w.compression, true)
		if err == nil {
			w.msg = w.msg[:end]
			w.answers++
			w.owner = 0
			if at, ok := w.compression[w.zone.Origin()]; ok && w.origin == 0 {
				w.origin = at
			}
			return nil
		}
		if w.answers == 0 {
			return fmt.Errorf("%s %s: %w", rr.Header().Name, dns.Type(rr.Header().Rrtype), err)
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
}

// addText adds a TXT record at a label one below the origin. It is most of what there is, and so not left to miekg/dns.
func (w *transferWriter) addText(label, value []byte, ttl uint32) error {
	// RFC 1035 §3.3.14: strings of at most 255 octets, each behind its length; one that is empty, of nothing.
	size := len(value) + max(1, (len(value)+254)/255)
	if len(w.msg)+1+len(label)+w.zone.origin.size+10+size > w.limit {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.appendOwner(label)
	w.msg = binary.BigEndian.AppendUint16(w.msg, dns.TypeTXT)
	w.msg = binary.BigEndian.AppendUint16(w.msg, dns.ClassINET)
	w.msg = binary.BigEndian.AppendUint32(w.msg, ttl)
	w.msg = binary.BigEndian.AppendUint16(w.msg, uint16(size))
	for {
		n := min(len(value), 255)
		w.msg = append(append(w.msg, byte(n)), value[:n]...)
		if value = value[n:]; len(value) == 0 {
			break
		}
	}
	w.answers++
	return nil
}

// appendOwner appends the name of a label one below the origin, with pointers to what is in the message already.
func (w *transferWriter) appendOwner(label []byte) {
	if w.owner > 0 && string(label) == string(w.label) {
		w.msg = binary.BigEndian.AppendUint16(w.msg, 0xC000|uint16(w.owner))
		return
	}
	at := len(w.msg)
	w.msg = append(append(w.msg, byte(len(label))), label...)
	if w.origin > 0 {
		w.msg = binary.BigEndian.AppendUint16(w.msg, 0xC000|uint16(w.origin))
	} else {
		origin := &w.zone.origin
		if begin := len(w.msg); begin <= maxPointer {
			w.origin, w.compression[w.zone.Origin()] = begin, begin
		}
		w.msg = append(w.msg, origin.wire[:origin.size]...)
	}
	if w.owner = 0; at <= maxPointer {
		w.owner, w.label = at, append(w.label[:0], label...)
	}
}
