package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"cnamed/config"
	"cnamed/dnsserver"
	"cnamed/registry"
)

// journalNames is how many changes of names are kept for secondaries: half a
// minute at 2,000 updates a second, some 20 MB.
const journalNames = 1 << 16

// journal is the bound of the registry's journal: nothing where nobody may
// transfer.
func journal(c *config.Config) int {
	for _, source := range zoneSources(c) {
		if len(source.config.TransferTo) > 0 && !source.static {
			return journalNames
		}
	}
	return 0
}

// zoneSource is what a zone is made of, and where in the configuration each field
// was set.
type zoneSource struct {
	config dnsserver.ZoneConfig
	static bool
	key    func(field string) string
}

// zoneSources returns the zones of a configuration, the main one first.
func zoneSources(c *config.Config) []zoneSource {
	main := zoneSource{
		config: dnsserver.ZoneConfig{
			Origin: c.Domain, NameServers: c.DNS.NameServers, Admin: c.DNS.Admin, Addrs: c.IPs, Records: c.DNS.Records,
			TTL: c.DNS.TTL, NegativeTTL: c.DNS.NegativeTTL,
			TransferTo: peers(c.DNS.TransferTo), Notify: secondaries(c.DNS.Notify),
		},
		key: func(field string) string {
			switch field {
			case "origin":
				return "domain"
			case "addrs":
				return "ip"
			}
			return "dns." + field
		},
	}
	sources := []zoneSource{main}
	for i := range c.Zones {
		z := &c.Zones[i]
		further := zoneSource{
			config: dnsserver.ZoneConfig{
				Origin: z.Domain, NameServers: z.NameServers, Admin: z.Admin, Addrs: c.IPs, Records: z.Records,
				TTL: z.TTL, NegativeTTL: z.NegativeTTL,
				TransferTo: peers(z.TransferTo), Notify: secondaries(z.Notify),
			},
			static: z.Static,
			key: func(field string) string {
				switch field {
				case "origin":
					return config.ZoneKey(i, "domain")
				case "addrs":
					return "ip"
				}
				return config.ZoneKey(i, field)
			},
		}
		if len(z.TransferTo) == 0 {
			further.config.TransferTo = main.config.TransferTo
		}
		if len(z.Notify) == 0 {
			further.config.Notify = main.config.Notify
		}
		sources = append(sources, further)
	}
	return sources
}

func peers(list []config.Peer) []dnsserver.Peer {
	made := make([]dnsserver.Peer, len(list))
	for i, p := range list {
		made[i] = dnsserver.Peer(p)
	}
	return made
}

func secondaries(list []config.Secondary) []dnsserver.Secondary {
	made := make([]dnsserver.Secondary, len(list))
	for i, s := range list {
		made[i] = dnsserver.Secondary(s)
	}
	return made
}

var _ dnsserver.Warmer = (*registry.Registry)(nil) // a ZoneSet finds out by itself

// makeZones makes the zones, in which names are registered.
func makeZones(c *config.Config, names dnsserver.Names) ([]*dnsserver.Zone, error) {
	var zones []*dnsserver.Zone
	for _, source := range zoneSources(c) {
		z, err := source.make(names)
		if err != nil {
			return nil, err
		}
		zones = append(zones, z)
	}
	return zones, nil
}

func (s *zoneSource) make(names dnsserver.Names) (*dnsserver.Zone, error) {
	if s.static {
		names = nil
	}
	return dnsserver.NewZone(s.config, names)
}

// openZones makes the zones with their serials: if their records changed since
// the last run, the serials move.
func openZones(ctx context.Context, c *config.Config, reg *registry.Registry) (*dnsserver.ZoneSet, error) {
	zones, err := makeZones(c, reg)
	if err != nil {
		return nil, err
	}
	records := make(map[string]string)
	for _, z := range zones {
		records[z.Origin()] = z.Fingerprint()
	}
	serials, err := reg.SetRecords(ctx, records)
	if err != nil {
		return nil, err
	}
	for i, z := range zones {
		zones[i] = z.WithSerial(serials[z.Origin()])
	}
	return dnsserver.NewZoneSet(zones...), nil
}

// keyring returns the keys of the configuration.
func keyring(c *config.Config) (*dnsserver.Keyring, error) {
	var keys []dnsserver.Key
	for _, k := range c.DNS.Keys {
		keys = append(keys, dnsserver.Key{Name: k.Name, Algorithm: k.Algorithm, Secret: dnsserver.Secret(k.Secret.Reveal())})
	}
	return dnsserver.NewKeyring(keys...)
}

// zoneProblems finds what the zones have against the configuration.
func zoneProblems(c *config.Config) (problems config.Problems) {
	var zones []*dnsserver.Zone
	origins := make(map[*dnsserver.Zone]string) // the key of each
	for _, source := range zoneSources(c) {
		if source.config.Origin == "" {
			continue // reported as missing
		}
		z, err := source.make(noNames{})
		if err == nil {
			zones, origins[z] = append(zones, z), source.key("origin")
		}
		errs := parts(err)
		if err != nil && errs == nil {
			errs = []error{err}
		}
		for _, e := range errs {
			var field *dnsserver.ConfigError
			if !errors.As(e, &field) {
				problems = append(problems, &config.Problem{Err: e})
				continue
			}
			problems = append(problems, c.Problem(source.key(field.Field), max(field.Index, 0),
				&config.ValueError{Msg: fmt.Sprintf("%q: %s", field.Value, field.Fault), Remedy: field.Remedy}))
		}
	}
	undelegated := dnsserver.NewZoneSet(zones...).Undelegated()
	for _, z := range zones {
		if above := undelegated[z]; above != nil {
			problems = append(problems, c.Problem(origins[z], 0, &config.ValueError{
				Msg:    fmt.Sprintf("%s is below %s, which does not delegate it", z.Origin(), above.Origin()),
				Remedy: delegationRecords(z, above, c.IPs),
			}))
		}
	}
	return problems
}

// delegationRecords says which records of the zone above delegate z.
func delegationRecords(z, above *dnsserver.Zone, ips []netip.Addr) string {
	records := fmt.Sprintf("%q", z.Origin()+" NS "+z.Primary())
	if len(ips) > 0 && strings.HasSuffix("."+strings.ToLower(z.Primary()), "."+strings.ToLower(above.Origin())) {
		family := "A"
		if ips[0].Unmap().Is6() {
			family = "AAAA"
		}
		records += fmt.Sprintf(" and %q", z.Primary()+" "+family+" "+ips[0].String())
	}
	return fmt.Sprintf("add %s to the records of %s", records, above.Origin())
}

// describeZones lists the zones for people.
func describeZones(zones *dnsserver.ZoneSet) string {
	var list []string
	for _, z := range zones.Zones() {
		text := strings.TrimSuffix(z.Origin(), ".")
		if z.Static() {
			text += " (records only)"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// noNames is a registry in which nobody is registered.
type noNames struct{}

func (noNames) AppendTXT(dst, _ []byte) ([]byte, bool, error) { return dst, false, nil }
func (noNames) Serial() uint32                                { return 0 }
