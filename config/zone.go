package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Zone is a further zone, beside that of Domain. Only the file can have some: a
// table [[zone]] each.
type Zone struct {
	// Domain is the origin, as Config.Domain.
	Domain string

	// Static zones have their records only. Others have the registered names
	// below them too.
	Static bool

	// The others are as in DNS, of this zone.
	NameServers      []string
	Admin            string
	Records          []string
	TTL, NegativeTTL time.Duration
	TransferTo       []Peer
	Notify           []Secondary
}

// Peer is a client of transfers: who has the address, or signs with the key; both,
// where both are given.
type Peer struct {
	Prefix netip.Prefix // the zero Prefix: any address
	Key    string       // the name of a key, or ""
}

// Secondary is a server that is told of changes.
type Secondary struct {
	Addr netip.AddrPort
	Key  string // the name of the key that signs, or ""
}

// zoneSettings are the settings of the further zone number i.
func zoneSettings(i int) []Setting {
	zone := func(c *Config) *Zone {
		for len(c.Zones) <= i {
			c.Zones = append(c.Zones, Zone{})
		}
		return &c.Zones[i]
	}
	settings := []Setting{
		{Key: "domain", add: func(c *Config, v string) (err error) { zone(c).Domain, err = parseDomain(v); return err }},
		{Key: "names", Default: []string{"registered"}, add: func(c *Config, v string) error {
			names, err := oneOf(v, "registered", "none")
			zone(c).Static = names == "none"
			return err
		}},
		{Key: "name-servers", List: true,
			add: appendTo(func(c *Config) *[]string { return &zone(c).NameServers }, parseDomain)},
		{Key: "admin", add: func(c *Config, v string) (err error) { zone(c).Admin, err = parseMailbox(v); return err }},
		{Key: "records", List: true,
			add: appendTo(func(c *Config) *[]string { return &zone(c).Records }, parseRecord)},
		{Key: "ttl", Default: []string{"1s"},
			add: func(c *Config, v string) (err error) { zone(c).TTL, err = parseTTL(v); return err }},
		{Key: "negative-ttl", Default: []string{"1s"},
			add: func(c *Config, v string) (err error) { zone(c).NegativeTTL, err = parseTTL(v); return err }},
		{Key: "transfer-to", List: true,
			add: appendTo(func(c *Config) *[]Peer { return &zone(c).TransferTo }, parsePeer)},
		{Key: "notify", List: true,
			add: appendTo(func(c *Config) *[]Secondary { return &zone(c).Notify }, parseSecondary)},
	}
	for n := range settings {
		settings[n].Key = ZoneKey(i, settings[n].Key)
	}
	return settings
}

// ZoneKey is the Key of a setting of the further zone number i.
func ZoneKey(i int, key string) string { return fmt.Sprintf("zone[%d].%s", i, key) }

// parsePeer takes an address or a prefix, a key, or both:
// "192.0.2.53 key xfr.example.org".
func parsePeer(s string) (p Peer, err error) {
	address, key, err := cutKey(s)
	if err != nil {
		return Peer{}, err
	}
	p.Key = key
	if address == "" {
		return p, nil
	}
	if p.Prefix, err = netip.ParsePrefix(address); err != nil {
		a, err := netip.ParseAddr(address)
		if err != nil || a.Zone() != "" {
			return Peer{}, &ValueError{fmt.Sprintf("%q is neither an address nor a prefix", address),
				"give one as 192.0.2.53, 2001:db8::/32, key xfr.example.org or 192.0.2.53 key xfr.example.org"}
		}
		p.Prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
	}
	if p.Prefix.Addr().Is4In6() {
		return Peer{}, &ValueError{fmt.Sprintf("%q is a prefix of mapped addresses", address), "give it as one of IPv4, such as 192.0.2.0/24"}
	}
	p.Prefix = p.Prefix.Masked()
	return p, nil
}

// parseSecondary takes an address, with a port if that is not 53, and perhaps a
// key: "192.0.2.53 key xfr.example.org".
func parseSecondary(s string) (Secondary, error) {
	address, key, err := cutKey(s)
	if err != nil {
		return Secondary{}, err
	}
	host, port := address, "53"
	if h, p, err := net.SplitHostPort(address); err == nil {
		host, port = h, p
	}
	a, err := netip.ParseAddr(host)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || n == 0 || a.IsUnspecified() {
		return Secondary{}, &ValueError{fmt.Sprintf("%q is not an address that can be told", address),
			"give one as 192.0.2.53, [2001:db8::53]:5353 or 192.0.2.53 key xfr.example.org"}
	}
	return Secondary{Addr: netip.AddrPortFrom(a.Unmap(), uint16(n)), Key: key}, nil
}

// cutKey takes "key NAME" from the end.
func cutKey(s string) (before, key string, err error) {
	words := strings.Fields(s)
	n := len(words)
	if n >= 2 && words[n-2] == "key" {
		if key, err = parseKeyName(words[n-1]); err != nil {
			return "", "", err
		}
		words = words[:n-2]
	}
	if len(words) > 1 || len(words) == 0 && key == "" {
		return "", "", &ValueError{fmt.Sprintf("%q is no address, with or without a key", s),
			"give one as 192.0.2.53 or 192.0.2.53 key xfr.example.org"}
	}
	return strings.Join(words, ""), key, nil
}

// checkZones finds out whether zones and keys go together.
func (c *Config) checkZones(wrong func(key string) bool) Problems {
	var problems Problems
	// A database can have keys that the settings lack: who opens it has to look.
	if c.Database == "" && !wrong("database") && !wrong("dns.keys") && !wrong("dns.key-files") {
		problems = c.MissingKeys()
	}
	taken := map[string]string{c.Domain: "domain"}
	for i := range c.Zones {
		z := &c.Zones[i]
		key := ZoneKey(i, "domain")
		other, twice := taken[z.Domain]
		switch {
		case z.Domain == "" && !wrong(key):
			p := c.Problem(key, 0, &ValueError{"no domain is given", "say which zone it is: domain = \"auth.example.net\""})
			p.Origin = c.zonesAt[i]
			problems = append(problems, p)
		case twice && z.Domain != "":
			problems = append(problems, c.Problem(key, 0, &ValueError{
				fmt.Sprintf("%s is the zone of %s already", z.Domain, other), "remove one of them"}))
		}
		taken[z.Domain] = key
	}
	return problems
}
