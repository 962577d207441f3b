package dnsserver

import (
	"cmp"
	"slices"

	"github.com/miekg/dns"
)

// node is one name of the static part of the zone. A name that has records below it but none of its own is a node too:
// RFC 4592 §2.2.2, empty non-terminals exist. Nodes do not change once the zone is made.
type node struct {
	children map[string]*node // by label in wire form, lower case, without the length octet
	sets     []rrset          // by type
	cut      bool             // a delegation: what is here and below belongs to other servers, RFC 1034 §4.2.1
}

// rrset is all records of one type at a name, RFC 2181 §5.
type rrset struct {
	rrs    []dns.RR
	target *name // of a CNAME
}

func (n *node) set(rrtype uint16) *rrset {
	for i := range n.sets {
		if n.sets[i].rrs[0].Header().Rrtype == rrtype {
			return &n.sets[i]
		}
	}
	return nil
}

// add puts rr into its set, and says false when it is there already: RFC 2181 §5, a set has no duplicates.
func (n *node) add(rr dns.RR) bool {
	set := n.set(rr.Header().Rrtype)
	if set == nil {
		n.sets = append(n.sets, rrset{rrs: []dns.RR{rr}})
		slices.SortFunc(n.sets, func(a, b rrset) int {
			return cmp.Compare(a.rrs[0].Header().Rrtype, b.rrs[0].Header().Rrtype)
		})
		return true
	}
	for _, have := range set.rrs {
		if dns.IsDuplicate(have, rr) {
			return false
		}
	}
	set.rrs = append(set.rrs, rr)
	return true
}

// find returns the node of q, nil when there is none. q is in the zone whose apex n is, which has depth labels.
func (n *node) find(q *name, depth int) *node {
	for i := q.labels - depth - 1; i >= 0 && n != nil; i-- {
		n = n.children[string(q.label(i))]
	}
	return n
}

// grow is find, and makes the nodes that are missing.
func (n *node) grow(q *name, depth int) *node {
	for i := q.labels - depth - 1; i >= 0; i-- {
		child := n.children[string(q.label(i))]
		if child == nil {
			child = new(node)
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			n.children[string(q.label(i))] = child
		}
		n = child
	}
	return n
}

func (n *node) hasAddress() bool {
	return n.set(dns.TypeA) != nil || n.set(dns.TypeAAAA) != nil
}

func (s *rrset) rrtype() uint16 { return s.rrs[0].Header().Rrtype }

// appendTo appends the records to dst as those of owner.
func (s *rrset) appendTo(dst []dns.RR, owner string) []dns.RR {
	for _, rr := range s.rrs {
		if rr.Header().Name != owner {
			rr = dns.Copy(rr)
			rr.Header().Name = owner
		}
		dst = append(dst, rr)
	}
	return dst
}
