package dnsserver

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxChain bounds a CNAME chain in one answer. What is left of a longer one the resolver asks for.
const maxChain = 16

// wildcardLabel is the label of RFC 4592 §2.1.1.
const wildcardLabel = "*"

// match is where a name leads to in the zone.
type match struct {
	node       *node // the static data of the name; nil when it has none
	registered bool  // the name exists in Names, and its values are in query.values
	cut        *node // set when the name is at or below this delegation
	atCut      bool
	unknown    bool // Names could not tell
}

// exists: RFC 8020 §2, a name exists when it or a name below it has data. A registered name exists without data too.
func (m *match) exists() bool { return m.node != nil || m.registered }

// find looks q.name up, by the algorithm of RFC 1034 §4.3.2 as RFC 4592 §3.3.1 restates it. The name is in the zone.
func (z *Zone) find(q *query, name *name) (m match) {
	n := z.apex
	for i := name.labels - z.origin.labels - 1; i >= 0; i-- {
		label := name.label(i)
		child := n.children[string(label)]
		wildcard := n.children[wildcardLabel]
		if n == z.apex && z.mustAsk(q.qtype, i == 0, child, wildcard) {
			registered, err := q.ask(z.names, label)
			switch {
			case err != nil:
				return match{unknown: true}
			case registered && i > 0:
				return match{} // RFC 4592 §3.3.1: the registered name is the closest encloser, with nothing below it
			case registered && child == nil:
				return match{registered: true}
			}
			m.registered = registered
		}
		if child == nil {
			// n is the closest encloser. Its wildcard, if it has one, is the source of synthesis.
			return match{node: wildcard}
		}
		if child.cut {
			return match{cut: child, atCut: i == 0}
		}
		n = child
	}
	m.node = n
	return m
}

// mustAsk says whether the reply can depend on what Names says of the label below the apex. If not, the static part
// stays answered when Names cannot tell.
func (z *Zone) mustAsk(qtype uint16, last bool, child, wildcard *node) bool {
	switch {
	case z.names == nil:
		return false
	case child == nil:
		return last || wildcard != nil // the name may exist, and then no wildcard covers it or what is below it
	case child.cut, child.set(dns.TypeCNAME) != nil:
		return false
	default:
		return last && (qtype == dns.TypeTXT || qtype == dns.TypeANY)
	}
}

// answer fills q with what the zone says to its question, whose name is in the zone.
func (z *Zone) answer(q *query) {
	name, owner := &q.request.name, q.qname
	// RFC 1035 §4.1.1: AA is about the first owner name in the answer, so a CNAME of ours that leads out keeps it.
	q.authoritative = true
	for {
		m := z.find(q, name)
		switch {
		case m.unknown:
			// RFC 2308 §7.1. Never a negative answer, which resolvers would believe.
			q.refuseUnread()
			return
		case m.cut != nil && m.atCut && q.qtype == dns.TypeDS:
			m.node = m.cut // RFC 4035 §3.1.4.1: the DS is on the parent's side of the cut
		case m.cut != nil:
			z.refer(q, m.cut)
			return
		case !m.exists():
			// RFC 2308 §2.1; RFC 6604 §3: after a CNAME the RCODE is that of the last name.
			q.rcode = dns.RcodeNameError
			q.authority = append(q.authority, q.soaRecord(z, z.negativeSOATTL()))
			return
		}
		alias := m.alias(q.qtype)
		if alias == nil {
			z.answerNode(q, &m, owner)
			return
		}
		if len(q.answer) == maxChain {
			return
		}
		q.appendSet(alias, owner)
		if !alias.target.within(&z.origin) || q.visited(alias.target) {
			return
		}
		name, owner = alias.target, alias.rrs[0].(*dns.CNAME).Target
	}
}

// alias returns the CNAME to follow, RFC 1034 §3.6.2.
func (m *match) alias(qtype uint16) *rrset {
	if m.node == nil || qtype == dns.TypeCNAME || qtype == dns.TypeANY {
		return nil
	}
	return m.node.set(dns.TypeCNAME)
}

// answerNode answers from the data of one name, or says that there is none of the type.
func (z *Zone) answerNode(q *query, m *match, owner string) {
	before := len(q.answer)
	switch {
	case q.qtype == dns.TypeSOA && m.node == z.apex:
		q.answer = append(q.answer, q.soaRecord(z, z.soa.Hdr.Ttl))
	case q.qtype == dns.TypeANY && m.node != nil && len(m.node.sets) > 0 && m.node.sets[0].rrtype() != dns.TypeTXT:
		// RFC 8482 §4.1: one RRset of those at the name, over TCP as well.
		q.appendSet(&m.node.sets[0], owner)
	case q.qtype == dns.TypeTXT || q.qtype == dns.TypeANY:
		z.answerTXT(q, m, owner)
	case m.node != nil:
		if set := m.node.set(q.qtype); set != nil {
			q.appendSet(set, owner)
			z.addServers(q, set)
		}
	}
	if len(q.answer) > before {
		return
	}
	// RFC 2308 §2.2: NODATA carries the SOA so that resolvers can cache it.
	q.authority = append(q.authority, q.soaRecord(z, z.negativeSOATTL()))
	if m.registered && q.qtype == dns.TypeTXT {
		q.explainUnset()
	}
}

// answerTXT answers with the static and the changing TXT records of a name as one RRset.
func (z *Zone) answerTXT(q *query, m *match, owner string) {
	ttl, before := z.ttl, len(q.answer)
	if m.node != nil {
		if set := m.node.set(dns.TypeTXT); set != nil {
			q.appendSet(set, owner)
			if m.registered && len(q.values) > 0 {
				// RFC 2181 §5.2: the records of a set have one TTL.
				ttl = min(ttl, set.rrs[0].Header().Ttl)
				for i := before; i < len(q.answer); i++ {
					q.answer[i] = dns.Copy(q.answer[i])
					q.answer[i].Header().Ttl = ttl
				}
			}
		}
	}
	if m.registered {
		q.appendValues(owner, ttl, before)
	}
}

// refer sends the client to the servers of a delegation, RFC 1034 §4.3.2 step 3b.
func (z *Zone) refer(q *query, cut *node) {
	q.authoritative = len(q.answer) > 0 // see answer
	set := cut.set(dns.TypeNS)
	q.authority = append(q.authority, set.rrs...)
	// RFC 9471 §3: a referral has all glue, or it is truncated, which happens to what does not fit.
	for _, rr := range set.rrs {
		z.addAddresses(q, rr.(*dns.NS).Ns)
	}
}

// addServers adds the addresses of the hosts that the records of an answer name, as far as they are known here: additional
// section processing, RFC 1035 §3.3.9 and §3.3.11, RFC 2782.
func (z *Zone) addServers(q *query, set *rrset) {
	q.dispensable = true
	for _, rr := range set.rrs {
		switch rr := rr.(type) {
		case *dns.NS:
			z.addAddresses(q, rr.Ns)
		case *dns.MX:
			z.addAddresses(q, rr.Mx)
		case *dns.SRV:
			z.addAddresses(q, rr.Target)
		}
	}
}

// addAddresses adds the addresses of a host to the additional section, unless it has them.
func (z *Zone) addAddresses(q *query, host string) {
	n := z.addressesOf(q, host)
	if n == nil || slices.ContainsFunc(q.additional, func(rr dns.RR) bool { return strings.EqualFold(rr.Header().Name, host) }) {
		return
	}
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if set := n.set(typ); set != nil {
			q.additional = set.appendTo(q.additional, host)
		}
	}
}

// addressesOf returns the node that has the addresses of a host when they are known here: its own, below a cut too, where
// they are glue, else that of the wildcard which covers it.
func (z *Zone) addressesOf(q *query, host string) *node {
	name, err := parseName(host)
	if err != nil || !name.within(&z.origin) {
		return nil
	}
	n := z.apex
	for i := name.labels - z.origin.labels - 1; i >= 0; i-- {
		if child := n.children[string(name.label(i))]; child != nil {
			n = child
			continue
		}
		wildcard := n.children[wildcardLabel]
		if n == z.apex && wildcard != nil && z.names != nil {
			// A registered name is no host, and no wildcard covers it. One that cannot be looked up is left out.
			if registered, err := q.ask(z.names, name.label(i)); registered || err != nil {
				return nil
			}
		}
		return wildcard
	}
	return n
}

// negativeSOATTL: RFC 2308 §3, a negative answer lives as long as the smaller of the SOA's TTL and its MINIMUM.
func (z *Zone) negativeSOATTL() uint32 { return min(z.soa.Hdr.Ttl, z.soa.Minttl) }
