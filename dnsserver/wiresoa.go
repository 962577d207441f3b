package dnsserver

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"
)

// wireZone is what a zone has prepared for answerWire. The zero value takes no question.
type wireZone struct {
	spelling []byte // the origin in wire form, as configured
	// soas are the SOAs of negative replies, as they are to be compressed when the question has so many labels of the
	// origin, counted from the last, in the spelling of the configuration: names compress to what is spelled alike.
	soas  []wireSOA
	avoid []string // labels at which the SOA compresses in yet another way
}

// wireSOA is an SOA record behind a question of one label below the origin.
type wireSOA struct {
	octets   []byte
	pointers []int // where compression pointers are; they move with the length of the label
	serial   int   // where the serial is
}

// prepareWire makes z ready for answerWire, if its data allows that.
func (z *Zone) prepareWire() {
	if z.names == nil || z.apex.children[wildcardLabel] != nil {
		return
	}
	w := wireZone{spelling: packName(z.Origin())}
	for _, host := range []string{z.soa.Ns, z.soa.Mbox} {
		label, ok := w.compresses(z, host)
		if !ok {
			return
		}
		w.avoid = append(w.avoid, label)
	}
	for known := range z.origin.labels + 1 {
		soa, ok := w.compress(z, known)
		if !ok {
			return
		}
		w.soas = append(w.soas, soa)
	}
	z.wire = w
}

// packName returns the wire form of a name that has been packed before.
func packName(text string) []byte {
	var wire [maxNameSize]byte
	end, _ := dns.PackDomainName(text, wire[:], 0, nil, false)
	return bytes.Clone(wire[:end])
}

// compresses returns the label of host below the origin, "" if there is none. It says false if host spells a part of
// the origin in another way than the origin does, so that how it compresses depends on more than wireZone knows.
func (w *wireZone) compresses(z *Zone, host string) (label string, ok bool) {
	wire := packName(host)
	var n name
	n.read(wire, 0)
	for i := 1; i <= min(n.labels, z.origin.labels); i++ {
		at, origin := n.offsets[n.labels-i], z.origin.offsets[z.origin.labels-i]
		if !bytes.Equal(n.wire[at:n.size], z.origin.wire[origin:z.origin.size]) {
			return "", true
		}
		if !bytes.Equal(wire[at:], w.spelling[origin:]) {
			return "", false
		}
	}
	if n.labels <= z.origin.labels {
		return "", true
	}
	return string(n.label(n.labels - z.origin.labels - 1)), true
}

// compress makes the SOA for questions that spell the last known labels of the origin like the configuration.
func (w *wireZone) compress(z *Zone, known int) (soa wireSOA, ok bool) {
	question := append([]byte{1, '*'}, w.spelling...)
	for i := range z.origin.labels - known {
		label := question[2+int(z.origin.offsets[i]):][:1+int(z.origin.wire[z.origin.offsets[i]])]
		for j, c := range label[1:] {
			label[1+j] = swapCase(c)
		}
	}
	qname, _, err := dns.UnpackDomainName(question, 0)
	if err != nil {
		return soa, false
	}
	var q query
	m := dns.Msg{Compress: true, Ns: []dns.RR{q.soaRecord(z, z.negativeSOATTL())}}
	m.SetQuestion(qname, dns.TypeTXT)
	msg, err := m.Pack()
	if err != nil {
		return soa, false
	}
	soa.octets = msg[headerSize+len(question)+4:]
	const fixed = 10 // type, class, TTL and length
	soa.serial = soa.skipName(soa.skipName(soa.skipName(0) + fixed))
	return soa, !slices.Contains(soa.targets(), headerSize) // that would be the made up label
}

// skipName passes over a name, and takes down its pointer if it ends in one.
func (soa *wireSOA) skipName(at int) (end int) {
	for {
		switch length := int(soa.octets[at]); {
		case length == 0:
			return at + 1
		case length >= 0xC0:
			soa.pointers = append(soa.pointers, at)
			return at + 2
		default:
			at += 1 + length
		}
	}
}

// targets returns where the pointers lead to.
func (soa *wireSOA) targets() (offsets []int) {
	for _, at := range soa.pointers {
		offsets = append(offsets, int(binary.BigEndian.Uint16(soa.octets[at:])&0x3FFF))
	}
	return offsets
}

func swapCase(c byte) byte {
	if 'a' <= c|0x20 && c|0x20 <= 'z' {
		return c ^ 0x20
	}
	return c
}

// takes says whether the wire form can answer for a label below the origin.
func (w *wireZone) takes(z *Zone, label []byte) bool {
	if len(w.soas) == 0 || z.apex.children[string(label)] != nil {
		return false
	}
	for _, avoid := range w.avoid {
		if string(label) == avoid {
			return false
		}
	}
	return true
}

// appendSOA appends the SOA of a negative reply, RFC 2308 §3, behind the question.
func (w *wireZone) appendSOA(reply, question []byte, z *Zone) []byte {
	longer := int(question[0]) - 1 // than the label that the SOAs are made for
	soa := &w.soas[w.known(question[1+int(question[0]):], z)]
	start := len(reply)
	reply = append(reply, soa.octets...)
	record := reply[start:]
	for _, at := range soa.pointers {
		binary.BigEndian.PutUint16(record[at:], binary.BigEndian.Uint16(record[at:])+uint16(longer))
	}
	binary.BigEndian.PutUint32(record[soa.serial:], z.serial())
	reply[9] = 1 // NSCOUNT
	return reply
}

// known returns how many of the origin's last labels are spelled in a question, of which this is the part behind the
// first label, like in the configuration.
func (w *wireZone) known(asked []byte, z *Zone) int {
	for i := range z.origin.labels {
		at := int(z.origin.offsets[i])
		if bytes.Equal(asked[at:len(w.spelling)], w.spelling[at:]) {
			return z.origin.labels - i
		}
	}
	return 0
}
