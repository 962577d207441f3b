package lab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// zone is one zone of an authoritative server. Its owner guards it.
type zone struct {
	origin  string // lower case, with the dot
	records map[string][]dns.RR
}

// parseZone reads the text of one zone, which has exactly one SOA record.
func parseZone(text string) (*zone, error) {
	rrs, err := parseRecords(text, "")
	if err != nil {
		return nil, err
	}
	z := &zone{records: make(map[string][]dns.RR)}
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeSOA {
			continue
		}
		if z.origin != "" {
			return nil, fmt.Errorf("lab: a second SOA record in the zone %s: give each zone as a text of its own", z.origin)
		}
		z.origin = dns.CanonicalName(rr.Header().Name)
	}
	if z.origin == "" {
		return nil, fmt.Errorf("lab: a zone without SOA record")
	}
	for _, rr := range rrs {
		if !dns.IsSubDomain(z.origin, dns.CanonicalName(rr.Header().Name)) {
			return nil, fmt.Errorf("lab: %s is not in the zone %s", rr.Header().Name, z.origin)
		}
		z.add(rr)
	}
	return z, nil
}

// parseRecords reads zone-file text. A missing TTL is 60.
func parseRecords(text, origin string) ([]dns.RR, error) {
	p := dns.NewZoneParser(strings.NewReader(text), origin, "")
	p.SetDefaultTTL(60)
	var rrs []dns.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return rrs, nil
}

func (z *zone) add(rr dns.RR) {
	name := dns.CanonicalName(rr.Header().Name)
	if !slices.ContainsFunc(z.records[name], func(old dns.RR) bool { return dns.IsDuplicate(old, rr) }) {
		z.records[name] = append(z.records[name], rr)
	}
}

func (z *zone) remove(rr dns.RR) bool {
	name := dns.CanonicalName(rr.Header().Name)
	before := len(z.records[name])
	z.records[name] = slices.DeleteFunc(z.records[name], func(old dns.RR) bool { return dns.IsDuplicate(old, rr) })
	removed := len(z.records[name]) < before
	if len(z.records[name]) == 0 {
		delete(z.records, name)
	}
	return removed
}

func (z *zone) rrset(name string, qtype uint16) []dns.RR {
	var set []dns.RR
	for _, rr := range z.records[name] {
		if rr.Header().Rrtype == qtype || qtype == dns.TypeANY {
			set = append(set, dns.Copy(rr))
		}
	}
	return set
}

// cut returns the highest delegation at or above name, below the zone's origin.
func (z *zone) cut(name string, qtype uint16) (string, bool) {
	for i := dns.CountLabel(z.origin) + 1; i <= dns.CountLabel(name); i++ {
		at := lastLabels(name, i)
		if at == name && qtype == dns.TypeDS {
			return "", false // RFC 4035 §3.1.4.1: the parent answers for DS
		}
		if len(z.rrset(at, dns.TypeNS)) > 0 {
			return at, true
		}
	}
	return "", false
}

// exists reports whether name has records or lies above a name that has (RFC 8020: an empty non-terminal exists).
func (z *zone) exists(name string) bool {
	if _, ok := z.records[name]; ok {
		return true
	}
	for have := range z.records {
		if dns.IsSubDomain(name, have) {
			return true
		}
	}
	return false
}

// wildcard returns the records' owner that RFC 4592 §3.3.1 substitutes for a name that does not exist.
func (z *zone) wildcard(name string) (string, bool) {
	for i := dns.CountLabel(name) - 1; i >= dns.CountLabel(z.origin); i-- {
		encloser := lastLabels(name, i)
		if z.exists(encloser) {
			_, ok := z.records["*."+encloser]
			return "*." + encloser, ok
		}
	}
	return "", false
}

func (z *zone) soa() []dns.RR { return z.rrset(z.origin, dns.TypeSOA) }

// lastLabels returns the last n labels of name.
func lastLabels(name string, n int) string {
	if n == 0 {
		return "."
	}
	starts := dns.Split(name)
	return name[starts[len(starts)-n]:]
}
