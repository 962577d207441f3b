package dnsserver

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// addRecords parses the static records into the tree.
func (b *builder) addRecords() {
	b.source = make(map[dns.RR]int)
	for i, text := range b.cfg.Records {
		rr, err := b.parseRecord(text)
		if err != nil {
			b.fail("records", i, text, "%w", err)
			continue
		}
		owner, err := parseName(rr.Header().Name)
		switch {
		case err != nil:
			b.fail("records", i, text, "%w", err)
			continue
		case !owner.within(&b.zone.origin):
			b.fail("records", i, text, "%s is outside the zone %s; leave the record to the zone that it belongs to",
				rr.Header().Name, b.origin)
			continue
		}
		if b.zone.apex.grow(owner, b.zone.origin.labels).add(rr) {
			b.source[rr] = i
		} else if rr.Header().Rrtype == dns.TypeCNAME {
			b.fail("records", i, text, "the CNAME is there twice; remove one")
		}
	}
}

// parseRecord reads one record in zone file form, RFC 1035 §5.1.
func (b *builder) parseRecord(text string) (dns.RR, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "$") {
		return nil, errors.New("a directive is no record; write each record out")
	}
	parser := dns.NewZoneParser(strings.NewReader(text+"\n"), b.origin, "")
	parser.SetDefaultTTL(staticTTL)
	rr, ok := parser.Next()
	if !ok {
		if err := parser.Err(); err != nil {
			return nil, fmt.Errorf("not a record (%s); write it as in %q", strings.TrimPrefix(err.Error(), "dns: "),
				"www 3600 IN A 192.0.2.1")
		}
		return nil, fmt.Errorf("no record; remove the entry, or write it as in %q", "www 3600 IN A 192.0.2.1")
	}
	if _, more := parser.Next(); more || parser.Err() != nil {
		return nil, errors.New("more than one record; give each an entry of its own")
	}
	return rr, b.checkRecord(rr)
}

// checkRecord checks what can be said of a record alone.
func (b *builder) checkRecord(rr dns.RR) error {
	hdr := rr.Header()
	typ := dns.Type(hdr.Rrtype)
	switch {
	case hdr.Class != dns.ClassINET:
		return errors.New("only the class IN is served; leave the class out")
	case hdr.Ttl >= 1<<31:
		return errors.New("the TTL is over 2147483647 (RFC 2181 §8); a day is 86400")
	case hdr.Rrtype == dns.TypeSOA:
		return errors.New("the SOA is made by the server; remove the record, and set the name servers, " +
			"the admin and the negative TTL instead")
	case hdr.Rrtype == dns.TypeDNAME:
		return errors.New("DNAME is not supported; write a CNAME, *.name CNAME target also covers what is below a name")
	case hdr.Rrtype == 0, hdr.Rrtype == dns.TypeOPT, hdr.Rrtype >= 128 && hdr.Rrtype <= 255:
		// RFC 6895 §3.1: meta-types and question types have no data.
		return fmt.Errorf("%s cannot be stored in a zone; remove the record", typ)
	case strings.ContainsFunc(hdr.Name, func(c rune) bool { return c > '~' }):
		return errors.New("the name is not in ASCII; write it in Punycode (xn--…)")
	case b.doubled(rr):
		return fmt.Errorf("this means a name that ends in %s; end the full name with a dot, or leave %s out",
			b.origin+b.origin, strings.TrimSuffix(b.origin, "."))
	}
	return packable(rr)
}

// doubled says whether a name in rr ends in the origin twice: a full name without its dot was taken as a relative one.
func (b *builder) doubled(rr dns.RR) bool {
	twice := strings.ToLower(b.origin + b.origin)
	text := rr.String()
	if rr.Header().Rrtype == dns.TypeTXT {
		text = rr.Header().Name // the rest is free text
	}
	return slices.ContainsFunc(strings.Fields(strings.ToLower(text)), func(field string) bool {
		return field == twice || strings.HasSuffix(field, "."+twice)
	})
}

// packable makes sure that a record which was read can also be sent.
func packable(rr dns.RR) error {
	if _, err := dns.PackRR(rr, make([]byte, maxMessage), 0, nil, false); err != nil {
		return fmt.Errorf("cannot be sent (%w); check the length of its names and strings", err)
	}
	return nil
}

// check checks what records say together, once all are in the tree.
func (b *builder) check() {
	glue := make(map[*node]bool)
	b.markCuts(b.zone.apex, glue)
	b.checkNode(b.zone.apex, "", glue)
	b.checkServers()

	// RFC 4592 §3.3.1: a registered name without a value exists, and a transfer has no way to say so.
	if wildcard := b.zone.apex.children[wildcardLabel]; wildcard != nil && b.zone.names != nil && len(b.cfg.TransferTo) > 0 {
		for i := range wildcard.sets {
			b.failSet(&wildcard.sets[i], "secondaries would answer with it for registered names that have no value; "+
				"remove the record, or transfer-to, which is for all zones that have none of their own")
		}
	}
	challenge := b.zone.apex.children[ChallengeLabel]
	if challenge != nil && b.zone.names != nil {
		for _, typ := range []uint16{dns.TypeCNAME, dns.TypeNS} {
			b.failSet(challenge.set(typ), "hides the server's own challenge name; "+
				"remove the record, or give the server another zone")
		}
	}
}

// markCuts finds the delegations, and the nodes that their NS records name.
func (b *builder) markCuts(n *node, glue map[*node]bool) {
	if ns := n.set(dns.TypeNS); ns != nil && n != b.zone.apex {
		n.cut = true
		for _, rr := range ns.rrs {
			if server := b.nodeOf(rr.(*dns.NS).Ns); server != nil {
				glue[server] = true
			}
		}
	}
	for _, child := range n.children {
		b.markCuts(child, glue)
	}
}

// nodeOf returns the node of a name in the zone, else nil.
func (b *builder) nodeOf(host string) *node {
	n, err := parseName(host)
	if err != nil || !n.within(&b.zone.origin) {
		return nil
	}
	return b.zone.apex.find(n, b.zone.origin.labels)
}

// checkNode checks n and what is below it. cut names the delegation that n is at or below, "" for none.
func (b *builder) checkNode(n *node, cut string, glue map[*node]bool) {
	below := cut != ""
	if n.cut && !below {
		cut = n.set(dns.TypeNS).rrs[0].Header().Name
	}
	for i := range n.sets {
		set := &n.sets[i]
		hdr := set.rrs[0].Header()
		switch hdr.Rrtype {
		case dns.TypeCNAME:
			b.checkCNAME(n, set)
		case dns.TypeDS:
			if !n.cut {
				b.failSet(set, "a DS belongs to a delegation (RFC 4035 §2.4); add the NS records of %s, or remove it", hdr.Name)
			}
		}
		address := hdr.Rrtype == dns.TypeA || hdr.Rrtype == dns.TypeAAAA
		delegation := hdr.Rrtype == dns.TypeNS || hdr.Rrtype == dns.TypeDS
		if cut != "" && !(address && glue[n]) && (below || !delegation) {
			b.failSet(set, "%s is delegated to other servers (RFC 1034 §4.2.1), and this is no address of one of them; "+
				"move the record there", cut)
		}
		for _, rr := range set.rrs {
			if rr.Header().Ttl != hdr.Ttl {
				b.failRecord(rr, "another %s of this name has the TTL %d (RFC 2181 §5.2); give all of them the same",
					dns.Type(hdr.Rrtype), hdr.Ttl)
			}
		}
	}
	if n.cut && !below {
		b.checkDelegation(n.set(dns.TypeNS))
	}
	for label, child := range n.children {
		if label == wildcardLabel && child.cut {
			b.failSet(child.set(dns.TypeNS), "a wildcard cannot be delegated (RFC 4592 §4.2); name each delegation")
			continue
		}
		b.checkNode(child, cut, glue)
	}
}

// checkCNAME: RFC 1034 §3.6.2, a CNAME is alone at its name; RFC 2181 §10.1, and there is one.
func (b *builder) checkCNAME(n *node, set *rrset) {
	set.target, _ = parseName(set.rrs[0].(*dns.CNAME).Target) // it has been packed before
	for _, rr := range set.rrs[1:] {
		b.failRecord(rr, "a second CNAME at the name (RFC 2181 §10.1); remove one of them")
	}
	switch {
	case n == b.zone.apex:
		b.failSet(set, "the origin has an SOA, so it can have no CNAME (RFC 1034 §3.6.2); write its addresses instead")
	case len(n.sets) > 1:
		b.failSet(set, "a CNAME must be alone at its name (RFC 1034 §3.6.2); remove it, or the other records of %s",
			set.rrs[0].Header().Name)
	}
}

// checkServers: RFC 2181 §10.3, the name of a name server is no alias.
func (b *builder) checkServers() {
	ns := b.zone.apex.set(dns.TypeNS)
	if ns == nil {
		return
	}
	for _, rr := range ns.rrs {
		if n := b.nodeOf(rr.(*dns.NS).Ns); n != nil && n != b.zone.apex && n.set(dns.TypeCNAME) != nil {
			b.failNS(rr, aliasServer)
		}
	}
}

const aliasServer = "the name server is an alias (RFC 2181 §10.3); give the name that the CNAME points to"

// checkDelegation: a name server in the zone has an address there, as glue (RFC 1034 §4.2.1) if it is below the cut, else
// nobody finds it. One that is below another cut may be found without.
func (b *builder) checkDelegation(cut *rrset) {
	for _, rr := range cut.rrs {
		target := rr.(*dns.NS).Ns
		server, err := parseName(target)
		if err != nil || !server.within(&b.zone.origin) {
			continue
		}
		owner, _ := parseName(cut.rrs[0].Header().Name)
		n, elsewhere := b.closest(server, owner)
		switch {
		case elsewhere, n != nil && n.hasAddress():
		case n != nil && n.set(dns.TypeCNAME) != nil:
			b.failRecord(rr, aliasServer)
		default:
			b.failRecord(rr, "the name server %s is in this zone and has no address (RFC 1034 §4.2.1); add a record such as %q",
				target, target+" A 203.0.113.5")
		}
	}
}

// closest returns the node that answers for a host in the zone, its own or that of the wildcard which covers it.
// elsewhere says that the host is at or below another delegation than that of owner.
func (b *builder) closest(host, owner *name) (n *node, elsewhere bool) {
	n = b.zone.apex
	for i := host.labels - b.zone.origin.labels - 1; i >= 0; i-- {
		child := n.children[string(host.label(i))]
		if child == nil {
			return n.children[wildcardLabel], false
		}
		if n = child; n.cut && !host.within(owner) {
			return n, !n.hasAddress()
		}
	}
	return n, false
}

func (b *builder) failSet(set *rrset, format string, args ...any) {
	if set == nil {
		return
	}
	for _, rr := range set.rrs {
		b.failRecord(rr, format, args...)
	}
}

// failRecord reports a fault once for each entry. Records that the server added itself are not at fault.
func (b *builder) failRecord(rr dns.RR, format string, args ...any) {
	i, ok := b.source[rr]
	if !ok {
		return
	}
	again := slices.ContainsFunc(b.faults, func(e *ConfigError) bool { return e.Field == "records" && e.Index == i })
	if !again {
		b.fail("records", i, b.cfg.Records[i], format, args...)
	}
}
