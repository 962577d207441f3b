package differential

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// query is a request to all servers.
type query struct {
	zone     *zone
	wire     []byte
	tcp      bool
	doubtful bool // a server may leave it without a reply

	// What the request says, as far as it could be parsed.
	msg    dns.Msg
	parsed bool
	qname  string
	qtype  uint16
}

func newQuery(z *zone, wire []byte) *query {
	q := &query{zone: z, wire: wire}
	q.parsed = q.msg.Unpack(wire) == nil
	if q.parsed && len(q.msg.Question) == 1 {
		q.qname, q.qtype = q.msg.Question[0].Name, q.msg.Question[0].Qtype
	}
	return q
}

func (q *query) String() string {
	network := "udp"
	if q.tcp {
		network = "tcp"
	}
	return fmt.Sprintf("%s %s %s over %s\n%s", q.zone.origin(), q.qname, dns.Type(q.qtype), network, hex.EncodeToString(q.wire))
}

// queries collects requests, and gives each an ID of its own.
type queries struct {
	*rand.Rand
	zone *zone
	list []*query
}

// add adds a request, made of m and then changed by each of the functions.
func (qs *queries) add(m *dns.Msg, change ...func(wire []byte) []byte) *query {
	m.Id = uint16(len(qs.list) % sentinelID)
	wire, err := m.Pack()
	if err != nil {
		panic(fmt.Sprintf("%v: %v", m, err))
	}
	for _, f := range change {
		wire = f(wire)
	}
	q := newQuery(qs.zone, wire)
	qs.list = append(qs.list, q)
	return q
}

// addRaw adds a request that may get no reply, octet by octet but for the ID.
func (qs *queries) addRaw(wire []byte) *query {
	wire = slices.Clone(wire)
	if len(wire) >= 2 {
		id := len(qs.list) % sentinelID
		wire[0], wire[1] = byte(id>>8), byte(id)
	}
	q := newQuery(qs.zone, wire)
	q.doubtful = true
	qs.list = append(qs.list, q)
	return q
}

func question(name string, qtype uint16) *dns.Msg {
	return &dns.Msg{Question: []dns.Question{{Name: name, Qtype: qtype, Qclass: dns.ClassINET}}}
}

// types are asked for at every kind of name.
var types = []uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME, dns.TypeMX, dns.TypeSRV, dns.TypeDS,
	dns.TypeCAA, dns.TypeANY, dns.TypePTR, dns.TypeHTTPS, dns.TypeDNAME, dns.TypeDNSKEY, dns.TypeNSEC, dns.TypeNSEC3PARAM,
	dns.TypeRRSIG, dns.TypeHINFO, dns.TypeNAPTR, 65280, 65281,
}

// anyType draws a type that all servers can have at the name.
func (qs *queries) anyType(name string) uint16 {
	qtype := types[qs.IntN(len(types))]
	if qtype == dns.TypeANY && qs.zone.has(name, placeholder) {
		return dns.TypeA
	}
	return qtype
}

// contents asks for the names of the zone, for those above, beside and below them, and for what is not there.
func (qs *queries) contents(g *generator) {
	asked := make(map[string]bool)
	var order []string
	want := func(name string) {
		if key := strings.ToLower(name); !asked[key] && len(name) < 254 {
			asked[key] = true
			order = append(order, name)
		}
	}
	for _, rr := range qs.zone.records {
		for _, name := range qs.zone.ancestors(rr.Header().Name) {
			want(name)
			want(g.pick(labels...) + "." + name)
			want("absent." + name)
			if below, found := strings.CutPrefix(name, "*."); found {
				want("covered." + below)
				want("two.deep." + below)
			}
		}
	}
	want("8E5700EA-0000-4000-8000-000000000003." + qs.zone.origin())
	for _, name := range order {
		ask := func(qtype uint16) { qs.add(question(name, qtype)) }
		ask(dns.TypeTXT)
		if !qs.zone.has(name, placeholder) {
			ask(dns.TypeANY)
		}
		for _, rr := range qs.zone.records {
			if strings.EqualFold(rr.Header().Name, name) && rr.Header().Rrtype != placeholder {
				ask(rr.Header().Rrtype)
			}
		}
		for range 3 {
			ask(qs.anyType(name))
		}
		// In another case, with EDNS, over TCP.
		qs.add(question(g.mixCase(name), qs.anyType(name)).SetEdns0(4096, false))
		qs.add(question(g.mixCase(name), dns.TypeTXT)).tcp = true
	}
}

// outside asks for what is in no zone of the servers.
func (qs *queries) outside(g *generator) {
	_, parent, _ := strings.Cut(qs.zone.origin(), ".")
	for _, name := range []string{".", parent, "x" + qs.zone.origin(), `x\004` + qs.zone.origin(), "www.example.com.",
		"8e5700ea-0000-4000-8000-000000000000." + parent} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSOA, dns.TypeNS, dns.TypeDS, dns.TypeANY, dns.TypeTXT} {
			qs.add(question(name, qtype))
			qs.add(question(g.mixCase(name), qtype).SetEdns0(1232, true))
			qs.add(question(name, qtype)).tcp = true
		}
	}
}
