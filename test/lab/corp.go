// Package lab is the DNS around cnamed in tests and in the sandbox: Corp, an authoritative server as a company runs it,
// and Resolver, a resolver that finds its way through delegations and CNAMEs as a CA's does. Both listen on a free port
// of 127.0.0.1, UDP and TCP.
//
// They are stubs: no DNSSEC, no zone transfer, no cache. What they do, they do by the RFCs.
package lab

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// Fault is a way in which a Corp misbehaves.
type Fault int

// The faults. None is the good behaviour.
const (
	None      Fault = iota
	ServFail        // answers SERVFAIL
	Refused         // answers REFUSED
	Silent          // does not answer
	Truncated       // answers TC and nothing else over UDP; well over TCP
	NotAuth         // leaves the AA bit out, as a box that intercepts DNS does
	NoEDNS          // answers FORMERR to any query with an OPT record (RFC 6891 §7)
	Garbage         // answers with the header of the query and octets that are no message
)

// Query is one question that a server got.
type Query struct {
	Name    string // as it came
	Type    uint16
	Network string // "udp" or "tcp"
}

// Corp is an authoritative DNS server. Its zones can be changed while it runs; all methods are safe for concurrent use.
type Corp struct {
	socket *socket

	mu      sync.Mutex
	zones   map[string]*zone
	faults  map[string]Fault
	queries []Query
	watch   func(Query)
}

// StartCorp starts a server of zones. Each is the text of a zone file with exactly one SOA record; names are absolute, or
// relative to an $ORIGIN line; a missing TTL is 60. Delegations are NS records below the origin, with glue beside them.
func StartCorp(zones ...string) (*Corp, error) {
	c := &Corp{zones: make(map[string]*zone), faults: make(map[string]Fault)}
	for _, text := range zones {
		if err := c.Load(text); err != nil {
			return nil, err
		}
	}
	var err error
	c.socket, err = listen(context.Background(), dns.HandlerFunc(c.serve))
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Addr returns the server's address, "127.0.0.1:port".
func (c *Corp) Addr() string { return c.socket.addr }

// Close stops the server and waits for it.
func (c *Corp) Close() error { return c.socket.close() }

// Load adds a zone, or replaces the one of the same origin.
func (c *Corp) Load(text string) error {
	z, err := parseZone(text)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.zones[z.origin] = z
	return nil
}

// Add adds records, in zone-file form with absolute names, to the deepest zone that holds each.
func (c *Corp) Add(records ...string) error {
	return c.change(records, func(z *zone, rr dns.RR) error {
		z.add(rr)
		return nil
	})
}

// Remove removes records. One that is not there is an error. TTLs do not matter.
func (c *Corp) Remove(records ...string) error {
	return c.change(records, func(z *zone, rr dns.RR) error {
		if !z.remove(rr) {
			return fmt.Errorf("lab: no record %q to remove", rr)
		}
		return nil
	})
}

func (c *Corp) change(records []string, apply func(*zone, dns.RR) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range records {
		rrs, err := parseRecords(text, ".")
		if err != nil {
			return err
		}
		for _, rr := range rrs {
			z := c.find(dns.CanonicalName(rr.Header().Name))
			if z == nil {
				return fmt.Errorf("lab: no zone holds %s", rr.Header().Name)
			}
			if err := apply(z, rr); err != nil {
				return err
			}
		}
	}
	return nil
}

// Fail makes the server misbehave for queries of name, or for all when name is "". None ends it.
func (c *Corp) Fail(name string, fault Fault) {
	if name != "" {
		name = dns.CanonicalName(name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[name] = fault
}

// Queries returns what the server was asked so far.
func (c *Corp) Queries() []Query {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.queries)
}

// Watch has f called for each query that comes from now on, before it is answered. A nil f ends it.
func (c *Corp) Watch(f func(Query)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = f
}

// find returns the deepest zone that holds name, or nil. The caller holds mu.
func (c *Corp) find(name string) *zone {
	for i := dns.CountLabel(name); i >= 0; i-- {
		if z := c.zones[lastLabels(name, i)]; z != nil {
			return z
		}
	}
	return nil
}

func (c *Corp) serve(w dns.ResponseWriter, req *dns.Msg) {
	m := new(dns.Msg)
	if len(req.Question) != 1 {
		send(w, req, m.SetRcode(req, dns.RcodeFormatError))
		return
	}
	q := req.Question[0]
	network := w.LocalAddr().Network()

	c.mu.Lock()
	query, watch := Query{q.Name, q.Qtype, network}, c.watch
	c.queries = append(c.queries, query)
	c.mu.Unlock()
	if watch != nil {
		watch(query)
	}

	c.mu.Lock()
	fault := c.faults[dns.CanonicalName(q.Name)]
	if fault == None {
		fault = c.faults[""]
	}
	m.SetReply(req)
	c.answer(m, dns.CanonicalName(q.Name), q)
	c.mu.Unlock()

	switch {
	case fault == Silent:
		return
	case fault == ServFail:
		m = new(dns.Msg).SetRcode(req, dns.RcodeServerFailure)
	case fault == Refused:
		m = new(dns.Msg).SetRcode(req, dns.RcodeRefused)
	case fault == Truncated && network == "udp":
		m = new(dns.Msg).SetReply(req)
		m.Truncated = true
	case fault == NotAuth:
		m.Authoritative = false
	case fault == NoEDNS && req.IsEdns0() != nil:
		_ = w.WriteMsg(new(dns.Msg).SetRcode(req, dns.RcodeFormatError))
		return
	case fault == Garbage:
		_, _ = w.Write([]byte{byte(req.Id >> 8), byte(req.Id), 0x84, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0xc0, 0x0c})
		return
	}
	send(w, req, m)
}

// answer fills m by RFC 1034 §4.3.2, following CNAMEs as far as our own zones go. The caller holds mu.
func (c *Corp) answer(m *dns.Msg, name string, q dns.Question) {
	if q.Qclass != dns.ClassINET {
		m.Rcode = dns.RcodeRefused
		return
	}
	owner := q.Name // the case of the question, for the first record
	for range 8 {
		z := c.find(name)
		if z == nil {
			if len(m.Answer) == 0 {
				m.Rcode = dns.RcodeRefused
			}
			return
		}
		if at, ok := z.cut(name, q.Qtype); ok {
			if len(m.Answer) == 0 {
				c.refer(m, z, at)
			}
			return
		}
		m.Authoritative = true
		next, done := z.find(m, name, owner, q.Qtype)
		if done {
			return
		}
		name, owner = dns.CanonicalName(next), next
	}
}

// refer fills m with the delegation at the name at.
func (c *Corp) refer(m *dns.Msg, z *zone, at string) {
	m.Ns = z.rrset(at, dns.TypeNS)
	for _, rr := range m.Ns {
		host := dns.CanonicalName(rr.(*dns.NS).Ns)
		m.Extra = append(m.Extra, z.rrset(host, dns.TypeA)...)
		m.Extra = append(m.Extra, z.rrset(host, dns.TypeAAAA)...)
	}
}

// find adds what the zone says about name to m. It returns the target of a CNAME that remains to be followed.
func (z *zone) find(m *dns.Msg, name, owner string, qtype uint16) (next string, done bool) {
	source := name
	if !z.exists(name) {
		wildcard, ok := z.wildcard(name)
		if !ok {
			m.Rcode = dns.RcodeNameError
			m.Ns = z.soa()
			return "", true
		}
		source = wildcard
	}
	set := z.rrset(source, qtype)
	cname := z.rrset(source, dns.TypeCNAME)
	if len(set) == 0 && len(cname) > 0 {
		set = cname
	}
	for _, rr := range set {
		rr.Header().Name = owner
	}
	m.Answer = append(m.Answer, set...)
	switch {
	case len(set) == 0:
		m.Ns = z.soa() // RFC 2308 §2.2: NODATA
		return "", true
	case len(cname) > 0 && qtype != dns.TypeCNAME && qtype != dns.TypeANY:
		return cname[0].(*dns.CNAME).Target, false
	}
	return "", true
}
