package config

import (
	"errors"
	"fmt"
)

// Override are the values that the command line or the environment gave to a
// setting. They replace those of the file.
type Override struct {
	Values []string
	From   string // "--ip" or "CNAMED_IP", for messages
}

// Load reads the configuration file, if path is not empty, lays the overrides
// (by the Key of the setting) over it and the defaults under it, and checks it.
// The error is of type [Problems] and holds all that is wrong; the Config is
// returned beside it as far as it could be made out, so that a caller can look
// for further problems before reporting them all.
func Load(path string, overrides map[string]Override) (*Config, error) {
	c := &Config{origins: map[string][]Origin{}}
	var file map[string]given
	var problems Problems
	settings := Settings()
	if path != "" {
		file, c.zonesAt, problems = readFile(path, settings)
	}
	for i := range c.zonesAt {
		settings = append(settings, zoneSettings(i)...)
	}

	for _, s := range settings {
		g := pick(s, overrides, file)
		c.origins[s.Key] = g.at
		kept := g.at[:0:0]
		for i, v := range g.values {
			if err := s.add(c, v); err != nil {
				problems = append(problems, &Problem{Origin: g.at[i], Key: s.Key, Err: err})
				continue
			}
			kept = append(kept, g.at[i])
		}
		if s.List {
			// Those of a list that are left keep their own places.
			c.origins[s.Key] = kept
		}
	}
	problems = append(problems, c.check(problems)...)
	if len(problems) > 0 {
		return c, problems
	}
	return c, nil
}

// pick returns the values of a setting from the first source that has some.
func pick(s Setting, overrides map[string]Override, file map[string]given) given {
	if o, ok := overrides[s.Key]; ok {
		g := given{values: o.Values}
		for range o.Values {
			g.at = append(g.at, Origin{Name: o.From})
		}
		return g
	}
	if g, ok := file[s.Key]; ok {
		return g
	}
	g := given{values: s.Default}
	for range s.Default {
		g.at = append(g.at, Origin{Name: "--" + s.Flag()})
	}
	return g
}

// check finds what is missing or does not go together. A setting that was given
// but is wrong is not reported as missing as well.
func (c *Config) check(found Problems) Problems {
	var problems Problems
	wrong := func(key string) bool {
		for _, p := range found {
			if p.Key == key {
				return true
			}
		}
		return false
	}
	missing := func(key, why, hint string) {
		if !wrong(key) {
			problems = append(problems, &Problem{Key: key, Err: &ValueError{why, hint}})
		}
	}
	if c.Domain == "" {
		missing("domain", "no domain is given", "say which zone to serve: --domain auth.example.org")
	}
	if len(c.IPs) == 0 {
		missing("ip", "no address is given", "say the public address of this server: --ip 203.0.113.5")
	}
	if c.API.TLS == TLSFile {
		if c.API.Cert == "" {
			missing("api.cert", "tls is file, but no certificate is named", "--api-cert /path/to/fullchain.pem")
		}
		if c.API.Key == "" {
			missing("api.key", "tls is file, but no private key is named", "--api-key /path/to/privkey.pem")
		}
	} else if c.API.Cert != "" || c.API.Key != "" {
		key := "api.cert"
		if c.API.Cert == "" {
			key = "api.key"
		}
		problems = append(problems, c.Problem(key, 0, &ValueError{
			fmt.Sprintf("a file is named, but tls is %s", c.API.TLS), "set --api-tls file, or leave the file out"}))
	}
	problems = append(problems, c.checkProxies(wrong)...)
	problems = append(problems, c.checkZones(wrong)...)
	if len(c.DNS.Listen) == 0 {
		missing("dns.listen", "no address to answer DNS on", "leave the setting out for port 53 of every interface")
	}
	if len(c.API.Listen) == 0 {
		missing("api.listen", "no address for the HTTP API", "leave the setting out for port 443 of every interface")
	}
	return problems
}

// AsProblems returns the problems that err holds, or err as the only one.
func AsProblems(err error) Problems {
	if err == nil {
		return nil
	}
	var p Problems
	if errors.As(err, &p) {
		return p
	}
	return Problems{{Err: err}}
}
