package dnsserver

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// builder makes a zone from its configuration and collects what is wrong with it.
type builder struct {
	cfg     ZoneConfig
	zone    *Zone
	origin  string // as configured, with a dot at the end
	primary string
	source  map[dns.RR]int // the index in cfg.Records
	faults  []*ConfigError
}

// fail takes down a fault. The message is what is wrong and, after a semicolon, what mends it.
func (b *builder) fail(field string, index int, value, format string, args ...any) {
	fault, remedy, _ := strings.Cut(fmt.Errorf(format, args...).Error(), "; ")
	b.faults = append(b.faults, &ConfigError{Field: field, Index: index, Value: value, Fault: fault, Remedy: remedy})
}

// err joins the faults, in an order that does not depend on how they were found.
func (b *builder) err() error {
	slices.SortStableFunc(b.faults, func(x, y *ConfigError) int {
		return cmp.Or(cmp.Compare(x.Field, y.Field), cmp.Compare(x.Index, y.Index))
	})
	errs := make([]error, len(b.faults))
	for i, fault := range b.faults {
		errs[i] = fault
	}
	return errors.Join(errs...)
}

func (b *builder) setOrigin() bool {
	b.origin = dns.Fqdn(b.cfg.Origin)
	if err := checkHostName(b.cfg.Origin); err != nil {
		b.fail("origin", -1, b.cfg.Origin, "%w", err)
		return false
	}
	origin, err := parseName(b.origin)
	if err != nil {
		b.fail("origin", -1, b.cfg.Origin, "%w; write the zone as in auth.example.org", err)
		return false
	}
	b.zone.origin = *origin
	return true
}

func (b *builder) setTTLs() {
	set := func(field string, value, fallback time.Duration) uint32 {
		if value == 0 {
			value = fallback
		}
		// RFC 2181 §8: 31 bits.
		if value < 0 || value%time.Second != 0 || value/time.Second >= 1<<31 {
			b.fail(field, -1, value.String(), "a TTL is whole seconds; write one such as 1s or 5m")
			return 0
		}
		return uint32(value / time.Second)
	}
	b.zone.ttl = set("ttl", b.cfg.TTL, defaultTTL)
	b.zone.negativeTTL = set("negative-ttl", b.cfg.NegativeTTL, defaultNegativeTTL)
}

// admin returns the mailbox as a domain name, RFC 1035 §8; "" for the default.
func (b *builder) admin() string {
	admin := b.cfg.Admin
	if local, domain, ok := strings.Cut(admin, "@"); ok {
		// RFC 1035 §5.1: a dot inside the first label is quoted.
		admin = strings.ReplaceAll(strings.ReplaceAll(local, `\`, `\\`), ".", `\.`) + "." + domain
		if local == "" || domain == "" {
			admin = ".." // fails below
		}
	}
	if admin == "" {
		return ""
	}
	if _, err := parseName(admin); err != nil || strings.ContainsAny(admin, "@ ") {
		b.fail("admin", -1, b.cfg.Admin, "not a mailbox; write it as in hostmaster@example.org")
	}
	return dns.Fqdn(admin)
}

func (b *builder) checkAddrs() {
	for i, addr := range b.cfg.Addrs {
		if !addr.IsValid() || addr.IsUnspecified() || addr.Zone() != "" {
			b.fail("addrs", i, addr.String(),
				"not an address that others can reach; write the public address of this server")
		}
	}
}

// addNameServers adds the NS records of the apex.
func (b *builder) addNameServers() {
	servers := b.cfg.NameServers
	if len(servers) == 0 {
		if set := b.zone.apex.set(dns.TypeNS); set != nil {
			b.primary = set.rrs[0].(*dns.NS).Ns
			return
		}
		servers = []string{b.origin}
	}
	ttl := uint32(staticTTL)
	if set := b.zone.apex.set(dns.TypeNS); set != nil {
		ttl = set.rrs[0].Header().Ttl
	}
	for i, server := range servers {
		if err := checkHostName(server); err != nil {
			b.fail("name-servers", i, server, "%w", err)
			continue
		}
		b.zone.apex.add(&dns.NS{
			Hdr: dns.RR_Header{Name: b.origin, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: ttl},
			Ns:  dns.Fqdn(server),
		})
	}
	b.primary = dns.Fqdn(servers[0])
}

// addAddrs adds the addresses of this server: to the apex, if that is a name server; else, in a zone with Names, those of a
// family of which Records has none there; and to the other name servers in the zone for which Records has none.
func (b *builder) addAddrs() {
	set := b.zone.apex.set(dns.TypeNS)
	if set == nil {
		return // every name server was refused
	}
	serves := slices.ContainsFunc(set.rrs, func(rr dns.RR) bool { return b.nodeOf(rr.(*dns.NS).Ns) == b.zone.apex })
	switch {
	case serves:
		b.addAddrsAt(b.zone.apex, b.origin, b.cfg.Addrs)
	case b.zone.names != nil:
		apex := b.zone.apex
		hasA, hasAAAA := apex.set(dns.TypeA) != nil, apex.set(dns.TypeAAAA) != nil
		b.addAddrsAt(apex, b.origin, slices.DeleteFunc(slices.Clone(b.cfg.Addrs), func(addr netip.Addr) bool {
			return addr.Unmap().Is4() && hasA || !addr.Unmap().Is4() && hasAAAA
		}))
	}
	for _, rr := range set.rrs {
		target := rr.(*dns.NS).Ns
		server, err := parseName(target)
		if err != nil || !server.within(&b.zone.origin) {
			continue
		}
		if n := b.zone.apex.find(server, b.zone.origin.labels); n != nil && (n.hasAddress() || n.set(dns.TypeCNAME) != nil) {
			continue // it has one, or it is refused as an alias
		}
		if len(b.cfg.Addrs) == 0 {
			b.failNS(rr, "the name server %s is in the zone and has no address; "+
				"give this server's public address, or a record such as %q", target, target+" A 203.0.113.5")
			continue
		}
		b.addAddrsAt(b.zone.apex.grow(server, b.zone.origin.labels), target, b.cfg.Addrs)
	}
}

// failNS reports a fault of an NS record of the apex at the place where it was configured.
func (b *builder) failNS(rr dns.RR, format string, args ...any) {
	target := rr.(*dns.NS).Ns
	if i, ok := b.source[rr]; ok {
		b.fail("records", i, b.cfg.Records[i], format, args...)
		return
	}
	for i, server := range b.cfg.NameServers {
		if dns.Fqdn(server) == target {
			b.fail("name-servers", i, server, format, args...)
			return
		}
	}
	b.fail("addrs", -1, "", format, args...)
}

func (b *builder) addAddrsAt(n *node, owner string, addrs []netip.Addr) {
	for _, addr := range addrs {
		addr = addr.Unmap()
		hdr := dns.RR_Header{Name: owner, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: staticTTL}
		if addr.Is6() {
			hdr.Rrtype = dns.TypeAAAA
		}
		if set := n.set(hdr.Rrtype); set != nil {
			hdr.Ttl = set.rrs[0].Header().Ttl
		}
		if addr.Is6() {
			n.add(&dns.AAAA{Hdr: hdr, AAAA: net.IP(addr.AsSlice())})
		} else if addr.IsValid() {
			n.add(&dns.A{Hdr: hdr, A: net.IP(addr.AsSlice())})
		}
	}
}

// addPeers takes over who may transfer the zone, and who is told of changes.
func (b *builder) addPeers() {
	for i, p := range b.cfg.TransferTo {
		made, err := newPeer(p)
		if err != nil {
			b.fail("transfer-to", i, p.Key, "%w; write the name of a key as in xfr.example.org", err)
		}
		b.zone.transferTo = append(b.zone.transferTo, made)
	}
	for i, s := range b.cfg.Notify {
		made := secondary{addr: s.Addr}
		var err error
		switch {
		case !s.Addr.IsValid() || s.Addr.Addr().IsUnspecified() || s.Addr.Port() == 0:
			err = errors.New("not an address that can be told; write one as in 192.0.2.53:53")
		case s.Key != "":
			if made.key, err = parseName(s.Key); err != nil {
				err = fmt.Errorf("%w; write the name of a key as in xfr.example.org", err)
			}
		}
		if err != nil {
			b.fail("notify", i, s.Addr.String(), "%w", err)
		}
		b.zone.notify = append(b.zone.notify, made)
	}
}

// checkHostName refuses what cannot be the name of a zone or of a name server: letters, digits, hyphens and
// underscores in at least two labels.
func checkHostName(host string) error {
	const remedy = "write the full name as in auth.example.org, other alphabets in Punycode (xn--…)"
	if len(host) > maxNameSize-1 {
		return errors.New("longer than a domain name can be; " + remedy)
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(labels) < 2 {
		return errors.New("not a full domain name; " + remedy)
	}
	for _, label := range labels {
		if label == "" || len(label) > maxLabelSize {
			return fmt.Errorf("a label has %d octets, where 1 to %d can be; %s", len(label), maxLabelSize, remedy)
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return errors.New("not a host name; " + remedy)
			}
		}
	}
	return nil
}
