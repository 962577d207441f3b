package config

import (
	"fmt"
	"slices"
)

// keyUse is a place where a rule names a key.
type keyUse struct {
	setting string
	index   int // in the list
	name    string
}

// keyUses returns where keys are named, in all zones.
func (c *Config) keyUses() (uses []keyUse) {
	add := func(transferTo, notify string, peers []Peer, secondaries []Secondary) {
		for i, p := range peers {
			if p.Key != "" {
				uses = append(uses, keyUse{transferTo, i, p.Key})
			}
		}
		for i, s := range secondaries {
			if s.Key != "" {
				uses = append(uses, keyUse{notify, i, s.Key})
			}
		}
	}
	add("dns.transfer-to", "dns.notify", c.DNS.TransferTo, c.DNS.Notify)
	for i := range c.Zones {
		z := &c.Zones[i]
		add(ZoneKey(i, "transfer-to"), ZoneKey(i, "notify"), z.TransferTo, z.Notify)
	}
	return uses
}

// MissingKeys returns a problem for each place that names a key which DNS.Keys
// lacks. [Load] reports them, unless there is a Database, where they can be: then
// who opens it adds them to DNS.Keys and asks again.
func (c *Config) MissingKeys() (problems Problems) {
	elsewhere := ""
	if c.Database != "" {
		elsewhere = ", or start the server that has it first"
	}
	for _, u := range c.keyUses() {
		if !c.hasKey(u.name) {
			problems = append(problems, c.Problem(u.setting, u.index, &ValueError{fmt.Sprintf("there is no key %s", u.name),
				fmt.Sprintf("name its file in key-files of [dns]; tsig-keygen %s makes one%s", u.name, elsewhere)}))
		}
	}
	return problems
}

// MissingKeyNames returns the names of the keys that MissingKeys is about, each
// once.
func (c *Config) MissingKeyNames() (names []string) {
	for _, u := range c.keyUses() {
		if !c.hasKey(u.name) && !slices.Contains(names, u.name) {
			names = append(names, u.name)
		}
	}
	return names
}

func (c *Config) hasKey(name string) bool {
	return slices.ContainsFunc(c.DNS.Keys, func(k Key) bool { return k.Name == name })
}
