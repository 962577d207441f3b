package differential

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// newProtocolZone returns the zone that requests of all forms are about: one name of each kind, and what is too large
// for a datagram.
func newProtocolZone(t *testing.T) *zone {
	config := dnsserver.ZoneConfig{
		Origin: "protocol.test",
		Addrs:  []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		Records: []string{
			"www A 192.0.2.80", "alias CNAME www", "out CNAME host.outside.example.", "loop CNAME LOOP2", "loop2 CNAME loop",
			"a.b.c TXT deep", "*.wild TXT wild", "sub NS ns.sub", "ns.sub A 192.0.2.1", "to-full CNAME full",
		},
	}
	full := make([]string, 40)
	for i := range full {
		full[i] = fmt.Sprintf("%043d", i)
	}
	for i := range 12 {
		// The glue is over 512 octets, and under 1232.
		config.Records = append(config.Records, fmt.Sprintf("large NS ns%d.large", i),
			fmt.Sprintf("ns%d.large A 192.0.2.%d", i, i), fmt.Sprintf("ns%d.large AAAA 2001:db8::%x", i, i))
		// The hosts are over 1232 octets with their addresses.
		config.Records = append(config.Records, fmt.Sprintf("mail MX 0 mail%d.a-label-of-some-octets-so-that-it-gets-long.%d", i, i))
		for j := range 4 {
			config.Records = append(config.Records,
				fmt.Sprintf("mail%d.a-label-of-some-octets-so-that-it-gets-long.%d A 192.0.2.%d", i, i, j))
		}
	}
	for i := range 30 {
		config.Records = append(config.Records, fmt.Sprintf("chain%d CNAME chain%d", i, i+1))
	}
	return newZone(t, config, names{
		dnsserver.ChallengeLabel:               {"own"},
		"8e5700ea-0000-4000-8000-000000000000": {"value-of-the-name", "value-of-the-wildcard"},
		"8e5700ea-0000-4000-8000-000000000001": {},
		"full":                                 full,
	})
}

// protocol asks in all the ways in which a question can be put.
func (qs *queries) protocol() {
	origin := qs.zone.origin()
	questions := []*dns.Msg{
		question(origin, dns.TypeSOA),
		question("8e5700ea-0000-4000-8000-000000000000."+origin, dns.TypeTXT),
		question("8E5700EA-0000-4000-8000-000000000000."+strings.ToUpper(origin), dns.TypeA),
		question("8e5700ea-0000-4000-8000-000000000001."+origin, dns.TypeTXT),
		question("absent."+origin, dns.TypeTXT),
		question("alias."+origin, dns.TypeA),
		question("out."+origin, dns.TypeA),
		question("loop."+origin, dns.TypeA),
		question("x.sub."+origin, dns.TypeA),
		question("full."+origin, dns.TypeTXT),
		question("to-full."+origin, dns.TypeTXT),
		question("x.large."+origin, dns.TypeTXT),
		question("mail."+origin, dns.TypeMX),
		question("chain0."+origin, dns.TypeA),
		question("chain14."+origin, dns.TypeA),
		question("chain20."+origin, dns.TypeA),
		question(strings.Repeat("a.", 110)+origin, dns.TypeA),
		question("www.outside.example.", dns.TypeA),
	}
	www := question("www."+origin, dns.TypeA)
	qs.sections(www, false) // before NSD has reached its limit of errors
	qs.sections(www, true)
	for _, m := range questions {
		for _, tcp := range []bool{false, true} {
			qs.flags(m, tcp)
			qs.edns(m, tcp)
		}
	}
	for _, tcp := range []bool{false, true} {
		qs.classes(www, tcp)
		qs.opcodes(www, tcp)
		qs.metaTypes(www, tcp)
	}
	qs.mutilated(www)
}

// flags sets each bit of the header that a query can have, alone and all together.
func (qs *queries) flags(m *dns.Msg, tcp bool) {
	for _, bits := range []byte{0, 0x04, 0x02, 0x01, 0x07} {
		for _, more := range []byte{0, 0x80, 0x40, 0x20, 0x10, 0xF0} {
			if bits != 0 && more != 0 && bits != 0x07 {
				continue
			}
			qs.add(m.Copy(), func(wire []byte) []byte {
				wire[2] |= bits
				wire[3] |= more
				return wire
			}).tcp = tcp
		}
	}
}

// edns brings an OPT record of every kind.
func (qs *queries) edns(m *dns.Msg, tcp bool) {
	add := func(change func(*dns.OPT)) {
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: 1232}}
		change(opt)
		asked := m.Copy()
		asked.Extra = []dns.RR{opt}
		qs.add(asked).tcp = tcp
	}
	for _, size := range []uint16{0, 1, 511, 512, 513, 1220, 1231, 1232, 1233, 1452, 4096, 65535} {
		add(func(opt *dns.OPT) { opt.SetUDPSize(size) })
	}
	add(func(opt *dns.OPT) { opt.SetDo() })
	add(func(opt *dns.OPT) { opt.SetCo(true) })
	add(func(opt *dns.OPT) { opt.SetZ(0x3FFF) })
	add(func(opt *dns.OPT) { opt.SetExtendedRcode(0x0F0) }) // means nothing in a query
	for _, version := range []uint8{1, 2, 255} {
		add(func(opt *dns.OPT) { opt.SetVersion(version) })
		add(func(opt *dns.OPT) { opt.SetVersion(version); opt.SetDo() })
	}
	for _, code := range []uint16{4, 16, 100, 20292, 65001, 65535} { // none that one of the servers has a use for
		for _, data := range []string{"", "data", strings.Repeat("x", 300)} {
			add(func(opt *dns.OPT) {
				opt.Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: code, Data: []byte(data)}}
			})
		}
	}
	add(func(opt *dns.OPT) {
		for range 50 {
			opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("many")})
		}
	})
	add(func(opt *dns.OPT) { opt.Option = []dns.EDNS0{&dns.EDNS0_PADDING{Padding: make([]byte, 100)}} })
	add(func(opt *dns.OPT) {
		opt.Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{192, 0, 2, 0}}}
	})
}

func (qs *queries) classes(m *dns.Msg, tcp bool) {
	for _, name := range []string{m.Question[0].Name, "version.bind.", "id.server.", "hostname.bind.", "."} {
		for _, class := range []uint16{0, 2, dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassNONE, dns.ClassANY, 256, 65280, 65535} {
			asked := question(name, dns.TypeTXT)
			asked.Question[0].Qclass = class
			qs.add(asked).tcp = tcp
			qs.add(asked.Copy().SetEdns0(1232, false)).tcp = tcp
		}
	}
}

// opcodes asks with each opcode but 0, for a name and without a question.
func (qs *queries) opcodes(m *dns.Msg, tcp bool) {
	for opcode := 1; opcode < 16; opcode++ {
		for _, name := range []string{m.Question[0].Name, qs.zone.origin(), "outside.example."} {
			asked := question(name, dns.TypeSOA)
			asked.Opcode = opcode
			for _, q := range []*query{qs.add(asked), qs.add(asked.Copy().SetEdns0(1232, true))} {
				q.tcp, q.doubtful = tcp, true
			}
		}
		header := make([]byte, 12)
		header[2] = byte(opcode << 3)
		qs.addRaw(header).tcp = tcp
	}
}

// metaTypes asks for the types that are no data, RFC 6895 §3.1.
func (qs *queries) metaTypes(m *dns.Msg, tcp bool) {
	for _, name := range []string{m.Question[0].Name, qs.zone.origin(), "alias." + qs.zone.origin(), "x.sub." + qs.zone.origin()} {
		for _, qtype := range []uint16{0, dns.TypeMD, dns.TypeMF, dns.TypeNULL, dns.TypeOPT, dns.TypeSIG, dns.TypeKEY, dns.TypeNXT,
			127, 128, 129, dns.TypeTKEY, dns.TypeTSIG, dns.TypeMAILB, dns.TypeMAILA, 65535} {
			qs.add(question(name, qtype)).tcp = tcp
		}
	}
}

// sections puts into the sections of a query what does not belong there, and announces what is not there.
func (qs *queries) sections(m *dns.Msg, tcp bool) {
	m.Id = 0
	plain, err := m.Pack()
	if err != nil {
		panic(err)
	}
	const (
		record = "c00c 0001 0001 00000000 0004 01020304"
		opt    = "00 0029 04d0 0000 0000 0000"
	)
	body := func(parts ...string) []byte {
		out, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
		if err != nil {
			panic(err)
		}
		return out
	}
	add := func(counts [4]uint16, more ...string) {
		wire := slices.Concat(plain, body(more...))
		for i, n := range counts {
			binary.BigEndian.PutUint16(wire[4+2*i:], n)
		}
		qs.addRaw(wire).tcp = tcp
	}
	same := hex.EncodeToString(plain[12:])
	add([4]uint16{2}, same)               // two questions
	add([4]uint16{2, 0, 0, 1}, same, opt) // and EDNS
	add([4]uint16{0})                     // the question is not announced
	add([4]uint16{0, 0, 0, 1})            // it would have to be a record
	add([4]uint16{2})                     // announced and missing
	add([4]uint16{1, 1})                  // a record likewise
	add([4]uint16{1, 0, 1})
	add([4]uint16{1, 0, 0, 1})
	add([4]uint16{65535, 65535, 65535, 65535})
	add([4]uint16{1}, "00") // octets behind the end
	add([4]uint16{1}, opt)
	add([4]uint16{1, 0, 0, 1}, opt, "00")
	add([4]uint16{1, 1}, record)       // an answer in a query
	add([4]uint16{1, 0, 1}, record)    // authority in a query
	add([4]uint16{1, 0, 0, 1}, record) // additional
	add([4]uint16{1, 0, 0, 2}, record, opt)
	add([4]uint16{1, 0, 0, 2}, opt, record)
	add([4]uint16{1, 0, 0, 2}, opt, opt) // two OPT records
	add([4]uint16{1, 1}, opt)            // OPT in another section
	add([4]uint16{1, 0, 1}, opt)
	add([4]uint16{1, 0, 0, 1}, "01 78 00 0029 04d0 0000 0000 0000") // at another name
	add([4]uint16{1, 0, 0, 1}, "00 0029 04d0 0000 0000 0001 00")    // with a broken option
	add([4]uint16{1, 0, 0, 1}, "00 0029 04d0 0000 0000 0003 fde900")
	add([4]uint16{1, 0, 0, 1}, "00 0029 04d0 0000 0000 0005 fde9000200")
	add([4]uint16{1, 0, 0, 1}, "00 0029 04d0 0000 0000 0005 fde90000") // longer than the message
	add([4]uint16{1, 0, 0, 1}, "c00c 0001 0001 00000000 0005 01020304")
	add([4]uint16{1, 0, 0, 1}, "c0ff 0001 0001 00000000 0004 01020304") // a pointer to nowhere
	add([4]uint16{1, 0, 0, 1}, "40 0001 0001 00000000 0004 01020304")   // a label of no known kind
	for rcode := byte(1); rcode < 16; rcode++ {                         // RCODE in a query
		qs.addRaw(slices.Concat(plain[:3], []byte{rcode}, plain[4:])).tcp = tcp
	}
	qs.addRaw(slices.Concat(plain[:2], []byte{0x80}, plain[3:])).tcp = tcp // a response
	qs.addRaw(slices.Concat(plain[:2], []byte{0x84}, plain[3:])).tcp = tcp
	qs.addRaw(slices.Concat(plain[:2], []byte{0xA8}, plain[3:])).tcp = tcp // to UPDATE
	for _, name := range []string{"c00c", "c000", "ffff", "4161", "8161", "40" + strings.Repeat("61", 64), "3f" + strings.Repeat("61", 20)} {
		qs.addRaw(slices.Concat(plain[:12], body(name, "00010001"))).tcp = tcp // a question whose name is none
	}
	qs.addRaw(slices.Concat(plain[:12], body(strings.Repeat("3f"+strings.Repeat("61", 63), 4), "00 0001 0001"))).tcp = tcp // too long
}

// mutilated cuts a query at every octet, and changes each octet to a few others.
func (qs *queries) mutilated(m *dns.Msg) {
	m = m.Copy().SetEdns0(1232, true)
	m.Id = 0
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	for i := range wire {
		if i > 0 {
			qs.addRaw(wire[:i])
		}
		if i < 2 {
			continue
		}
		for _, octet := range []byte{wire[i] ^ 0xFF, wire[i] + 1, wire[i] ^ 0x40, 0, 0xC0} {
			changed := slices.Clone(wire)
			changed[i] = octet
			qs.addRaw(changed)
		}
	}
}
