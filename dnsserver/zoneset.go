package dnsserver

import (
	"slices"

	"github.com/miekg/dns"
)

// A ZoneSet is the zones of a server. One may be below another: a name belongs to the zone with the longest origin that
// it is within, and the zone above has of the one below what its own records say, which is to be a delegation: see
// Undelegated.
// It does not change, and is safe for concurrent use.
type ZoneSet struct {
	zones    []*Zone
	byOrigin map[string]*Zone // by origin in wire form, lower case
	depths   []int            // how many labels origins have, each number once, the most first
	warmer   Warmer           // of the first zone that has one
}

// NewZoneSet makes a set of zones. Of two with one origin the first counts.
func NewZoneSet(zones ...*Zone) *ZoneSet {
	s := &ZoneSet{byOrigin: make(map[string]*Zone, len(zones))}
	for _, z := range zones {
		origin := string(z.origin.suffix(z.origin.labels))
		if s.byOrigin[origin] != nil {
			continue
		}
		s.zones = append(s.zones, z)
		s.byOrigin[origin] = z
		if warmer, ok := z.names.(Warmer); ok && s.warmer == nil {
			s.warmer = warmer
		}
		if !slices.Contains(s.depths, z.origin.labels) {
			s.depths = append(s.depths, z.origin.labels)
		}
	}
	slices.Sort(s.depths)
	slices.Reverse(s.depths)
	return s
}

// zoneOf returns the zone that a name belongs to, nil for none. It looks up one suffix of the name for each depth at
// which there are origins, the longest first: one look-up where all origins have as many labels, whatever their number.
// It allocates nothing, since the compiler makes no string of a map's key.
func (s *ZoneSet) zoneOf(n *name) *Zone {
	for _, depth := range s.depths {
		if depth > n.labels {
			continue
		}
		if z := s.byOrigin[string(n.suffix(depth))]; z != nil {
			return z
		}
	}
	return nil
}

// zoneFor returns the zone that answers a question. RFC 4035 §3.1.4.1: the DS of a zone is the parent's, and so is its
// absence.
func (s *ZoneSet) zoneFor(n *name, qtype uint16) *Zone {
	z := s.zoneOf(n)
	if z == nil || qtype != dns.TypeDS || n.labels != z.origin.labels {
		return z
	}
	if above := s.above(z); above != nil {
		return above
	}
	return z
}

// above returns the zone that z is below, nil for none.
func (s *ZoneSet) above(z *Zone) *Zone {
	for _, depth := range s.depths {
		if depth < z.origin.labels {
			if above := s.byOrigin[string(z.origin.suffix(depth))]; above != nil {
				return above
			}
		}
	}
	return nil
}

// Undelegated returns the zones that are below another one which does not delegate them, with that one: to it their names
// do not exist, or are its own, and so it answers who asks it for a name that leads there.
func (s *ZoneSet) Undelegated() map[*Zone]*Zone {
	found := make(map[*Zone]*Zone)
	for _, z := range s.zones {
		if above := s.above(z); above != nil && !above.Delegates(z.Origin()) {
			found[z] = above
		}
	}
	return found
}

// Zones returns the zones in the order in which they were given.
func (s *ZoneSet) Zones() []*Zone { return slices.Clone(s.zones) }

// Reserved says whether a name one label below an origin cannot be registered, because in a zone that has Names it is
// used otherwise: see Zone.Reserved, and another zone may begin there.
func (s *ZoneSet) Reserved(label string) bool {
	for _, z := range s.zones {
		if z.names == nil {
			continue
		}
		if z.Reserved(label) {
			return true
		}
		for _, below := range s.zones {
			i := below.origin.labels - z.origin.labels - 1
			if i >= 0 && below.origin.within(&z.origin) && string(below.origin.label(i)) == label {
				return true
			}
		}
	}
	return false
}
