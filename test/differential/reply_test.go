package differential

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// partNames are what of a reply is compared, each as text.
var partNames = []string{"reply", "rcode", "flags", "question", "answer", "authority", "additional", "opt"}

// reply is what a server sent.
type reply struct {
	wire   []byte
	msg    *dns.Msg // nil when there is no reply, or none that can be parsed
	parts  map[string]string
	folded map[string]string // the same with all names in records in lower case
}

func newReply(wire []byte) *reply {
	r := &reply{wire: wire, parts: make(map[string]string), folded: make(map[string]string)}
	defer func() {
		for part, text := range r.parts {
			if r.folded[part] == "" {
				r.folded[part] = text
			}
		}
	}()
	if wire == nil {
		r.parts["reply"] = "none"
		return r
	}
	if len(wire) >= 12 {
		// The header of a reply can announce what it does not have.
		bits := binary.BigEndian.Uint16(wire[2:])
		r.parts["rcode"] = rcode(int(bits & 0xF))
		r.parts["flags"] = flags(bits)
	}
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		r.parts["reply"] = "malformed: " + err.Error()
		return r
	}
	r.msg = m
	r.parts["reply"] = "sent"
	for _, q := range m.Question {
		r.parts["question"] += strings.TrimPrefix(q.String(), ";") + "\n"
	}
	extra := slices.DeleteFunc(slices.Clone(m.Extra), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	for part, rrs := range map[string][]dns.RR{"answer": m.Answer, "authority": m.Ns, "additional": extra} {
		r.parts[part], r.folded[part] = set(rrs, text), set(rrs, fold)
	}
	if opt := m.IsEdns0(); opt != nil {
		r.parts["rcode"] = rcode(m.Rcode)
		r.parts["opt"] = describe(opt)
	}
	return r
}

func rcode(code int) string {
	switch text, known := dns.RcodeToString[code]; {
	case code == dns.RcodeBadVers:
		return "BADVERS" // which BADSIG shares its number with
	case known:
		return text
	}
	return strconv.Itoa(code)
}

// flags names the bits of the header.
func flags(bits uint16) string {
	out := dns.OpcodeToString[int(bits>>11)&0xF]
	if out == "" {
		out = "opcode " + strconv.Itoa(int(bits>>11)&0xF)
	}
	for i, name := range []string{"qr", "", "", "", "", "aa", "tc", "rd", "ra", "z", "ad", "cd"} {
		if name != "" && bits&(0x8000>>i) != 0 {
			out += " " + name
		}
	}
	return out
}

func describe(opt *dns.OPT) string {
	out := fmt.Sprintf("version %d size %d flags %04x", opt.Version(), opt.UDPSize(), opt.Hdr.Ttl&0xFFFF)
	for _, o := range opt.Option {
		out += fmt.Sprintf(" option %d", o.Option())
	}
	return out
}

// set is the records of a section as a set.
func set(rrs []dns.RR, text func(dns.RR) string) string {
	var lines []string
	for _, rr := range rrs {
		lines = append(lines, text(rr)+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func text(rr dns.RR) string { return strings.Join(strings.Fields(rr.String()), " ") }

// fold is text with the names in lower case.
func fold(rr dns.RR) string {
	switch rr.Header().Rrtype {
	case dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeSRV, dns.TypeNAPTR:
		return strings.ToLower(text(rr))
	}
	rr = dns.Copy(rr)
	rr.Header().Name = strings.ToLower(rr.Header().Name)
	return text(rr)
}

func (r *reply) String() string {
	var b strings.Builder
	for _, part := range partNames {
		if text := strings.TrimSpace(r.parts[part]); text != "" {
			fmt.Fprintf(&b, "%s: %s\n", part, strings.ReplaceAll(text, "\n", "\n\t"))
		}
	}
	if r.msg == nil {
		fmt.Fprintln(&b, hex.EncodeToString(r.wire))
	}
	return b.String()
}

// differing returns the names of the parts that are not the same, but for the case of names in records.
func (r *reply) differing(o *reply) (parts []string) {
	for _, part := range partNames {
		if r.folded[part] != o.folded[part] {
			parts = append(parts, part)
		}
	}
	return parts
}
