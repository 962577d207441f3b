package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
)

// Setting is one thing that can be set: in the file under its Key, on the
// command line as Flag, in the environment as Env.
type Setting struct {
	// Key is the path in the file: "dns.listen" is listen in the table [dns].
	Key string

	// Usage says in one line what it sets.
	Usage string

	// Default are the values where nothing else is said.
	Default []string

	// List is set where the setting takes any number of values.
	List bool

	// add takes one value, and for a list appends it.
	add func(*Config, string) error
}

// Flag is the name on the command line, without the leading dashes.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Key, ".", "-") }

// Settings returns every setting, in the order in which a person would want to
// read about them.
func Settings() []Setting {
	return []Setting{
		{Key: "domain", Usage: "the zone to serve, delegated to this server: auth.example.org",
			add: func(c *Config, v string) (err error) { c.Domain, err = parseDomain(v); return err }},
		{Key: "ip", Usage: "a public address of this server", List: true,
			add: appendTo(func(c *Config) *[]addr { return &c.IPs }, parseAddr)},
		{Key: "data", Usage: "folder of the database and the API's certificate",
			add: func(c *Config, v string) error { c.Data = v; return nil }},
		{Key: "database", Usage: "where the accounts are: sqlite (a file in the data folder), or a URL as postgres://user@host/database", Default: []string{"sqlite"},
			add: func(c *Config, v string) (err error) { c.Database, err = parseDatabase(v); return err }},

		{Key: "dns.listen", Usage: "address to answer DNS on, by UDP and TCP", List: true, Default: []string{":53"},
			add: appendTo(func(c *Config) *[]string { return &c.DNS.Listen }, parseListen)},
		{Key: "dns.name-servers", Usage: "host name of a name server of the zone (default: the domain itself)", List: true,
			add: appendTo(func(c *Config) *[]string { return &c.DNS.NameServers }, parseDomain)},
		{Key: "dns.admin", Usage: "mailbox of the zone's administrator (default: hostmaster@ the domain)",
			add: func(c *Config, v string) (err error) { c.DNS.Admin, err = parseMailbox(v); return err }},
		{Key: "dns.records", Usage: "a further record of the zone, as in a zone file", List: true,
			add: appendTo(func(c *Config) *[]string { return &c.DNS.Records }, parseRecord)},
		{Key: "dns.ttl", Usage: "time to live of challenge values", Default: []string{"1s"},
			add: func(c *Config, v string) (err error) { c.DNS.TTL, err = parseTTL(v); return err }},
		{Key: "dns.negative-ttl", Usage: "how long resolvers may remember that a value is absent", Default: []string{"1s"},
			add: func(c *Config, v string) (err error) { c.DNS.NegativeTTL, err = parseTTL(v); return err }},
		{Key: "dns.reply-limit", Usage: "replies to one address by UDP: 200/s, or off", Default: []string{"200/s"},
			add: func(c *Config, v string) (err error) { c.DNS.ReplyLimit, err = parseReplyLimit(v); return err }},
		{Key: "dns.reply-limit-exempt", Usage: "address or CIDR prefix without that limit", List: true, Default: []string{"127.0.0.0/8", "::1"},
			add: appendTo(func(c *Config) *[]netip.Prefix { return &c.DNS.ReplyLimitExempt }, parseNetwork)},
		{Key: "dns.cookies", Usage: "DNS cookies: on or off", Default: []string{"on"},
			add: func(c *Config, v string) error {
				word, err := oneOf(v, "on", "off")
				c.DNS.Cookies = word == "on"
				return err
			}},
		{Key: "dns.cookie-secrets", Usage: "file of the secrets of cookies, one a line, the same on all servers of the zone (default: one in --data, or the one in --database)",
			add: func(c *Config, v string) error { c.DNS.CookieSecrets = v; return nil }},
		{Key: "dns.nsid", Usage: "identifier of this server, for who asks with NSID (default: none)",
			add: func(c *Config, v string) (err error) { c.DNS.NSID, err = parseIdentity(v); return err }},
		{Key: "dns.identity", Usage: "what id.server and hostname.bind say (default: REFUSED)",
			add: func(c *Config, v string) (err error) { c.DNS.Identity, err = parseIdentity(v); return err }},
		{Key: "dns.version", Usage: "what version.server and version.bind say (default: REFUSED)",
			add: func(c *Config, v string) (err error) { c.DNS.Version, err = parseIdentity(v); return err }},

		{Key: "dns.key-files", Usage: "file with TSIG keys, as tsig-keygen writes them", List: true,
			add: func(c *Config, v string) error {
				keys, err := readKeys(v)
				if err != nil {
					return err
				}
				return c.addKeys(keys...)
			}},
		{Key: "dns.keys", Usage: "TSIG key: algorithm:name:secret (others can see a flag; prefer a file)", List: true,
			add: func(c *Config, v string) error {
				k, err := ParseKey(v)
				if err != nil {
					return err
				}
				return c.addKeys(k)
			}},
		{Key: "dns.transfer-to", Usage: "who may transfer the zone: 192.0.2.53, key xfr.example.org, or both (default: nobody)", List: true,
			add: appendTo(func(c *Config) *[]Peer { return &c.DNS.TransferTo }, parsePeer)},
		{Key: "dns.notify", Usage: "secondary that is told of changes: 192.0.2.53, or 192.0.2.53 key xfr.example.org", List: true,
			add: appendTo(func(c *Config) *[]Secondary { return &c.DNS.Notify }, parseSecondary)},

		{Key: "api.listen", Usage: "address of the HTTP API", List: true, Default: []string{":443"},
			add: appendTo(func(c *Config) *[]string { return &c.API.Listen }, parseListen)},
		{Key: "api.tls", Usage: "where the API's certificate comes from: acme, file or none", Default: []string{"acme"},
			add: func(c *Config, v string) error {
				mode, err := oneOf(v, string(TLSACME), string(TLSFile), string(TLSNone))
				c.API.TLS = TLSMode(mode)
				return err
			}},
		{Key: "api.cert", Usage: "PEM file of the API's certificate and its chain, for --api-tls file",
			add: func(c *Config, v string) error { c.API.Cert = v; return nil }},
		{Key: "api.key", Usage: "PEM file of the certificate's private key, for --api-tls file",
			add: func(c *Config, v string) error { c.API.Key = v; return nil }},
		{Key: "api.registration", Usage: "who may register: open (everybody), token (see cnamed token) or closed (nobody)", Default: []string{"open"},
			add: func(c *Config, v string) error {
				mode, err := oneOf(v, string(RegistrationOpen), string(RegistrationToken), string(RegistrationClosed))
				c.API.Registration = RegistrationMode(mode)
				return err
			}},
		{Key: "api.subdomains", Usage: "the names of new accounts: drawn (by the server) or chosen (by who registers, if he likes)", Default: []string{"drawn"},
			add: func(c *Config, v string) error {
				mode, err := oneOf(v, "drawn", "chosen")
				c.API.ChosenNames = mode == "chosen"
				return err
			}},
		{Key: "api.register-limit", Usage: "registrations from one address: 2000/h, or off", Default: []string{"2000/h"},
			add: func(c *Config, v string) (err error) { c.API.RegisterLimit, err = parseRate(v); return err }},
		{Key: "api.failure-limit", Usage: "failures to authenticate from one address: 600/m, or off", Default: []string{"600/m"},
			add: func(c *Config, v string) (err error) { c.API.FailureLimit, err = parseRate(v); return err }},
		{Key: "api.trusted-proxies", Usage: "address or CIDR prefix of a reverse proxy in front of the API", List: true,
			add: appendTo(func(c *Config) *[]netip.Prefix { return &c.API.TrustedProxies }, parseProxy)},
		{Key: "api.proxy-header", Usage: "header in which these name the client: x-forwarded-for, x-real-ip, forwarded or none", Default: []string{"none"},
			add: func(c *Config, v string) (err error) { c.API.ProxyHeader, err = parseProxyHeader(v); return err }},
		{Key: "api.proxy-protocol", Usage: "v2: their connections begin with a header of the PROXY protocol; or off", Default: []string{"off"},
			add: func(c *Config, v string) error {
				version, err := oneOf(v, "off", "v2")
				c.API.ProxyProtocol = version == "v2"
				return err
			}},
		{Key: "api.cors-origins", Usage: "origin whose pages may use the API: https://app.example, or *", List: true,
			add: appendTo(func(c *Config) *[]string { return &c.API.CORSOrigins }, parseOrigin)},

		{Key: "acme.ca", Usage: "CA of the API's certificate: a preset or the URL of a directory", Default: []string{"letsencrypt"},
			add: func(c *Config, v string) error { c.ACME.CA = v; return nil }},
		{Key: "acme.ca-root", Usage: "PEM file with the roots of the CA's own HTTPS (default: the system's)",
			add: func(c *Config, v string) error { c.ACME.Root = v; return nil }},
		{Key: "acme.email", Usage: "contact of the CA account",
			add: func(c *Config, v string) (err error) { c.ACME.Email, err = parseMailbox(v); return err }},

		{Key: "log.level", Usage: "debug, info, warn or error", Default: []string{"info"},
			add: func(c *Config, v string) error {
				if _, err := oneOf(v, "debug", "info", "warn", "error"); err != nil {
					return err
				}
				var level slog.Level
				err := level.UnmarshalText([]byte(v))
				c.Log.Level = level
				return err
			}},
		{Key: "log.format", Usage: "text or json", Default: []string{"text"},
			add: func(c *Config, v string) error {
				format, err := oneOf(v, "text", "json")
				c.Log.JSON = format == "json"
				return err
			}},
	}
}

// appendTo makes the add function of a list out of the parser of one value.
func appendTo[T any](list func(*Config) *[]T, parse func(string) (T, error)) func(*Config, string) error {
	return func(c *Config, s string) error {
		v, err := parse(s)
		if err != nil {
			return err
		}
		l := list(c)
		*l = append(*l, v)
		return nil
	}
}

// oneOf returns v where it is one of the allowed words.
func oneOf(v string, allowed ...string) (string, error) {
	for _, a := range allowed {
		if v == a {
			return v, nil
		}
	}
	return "", &ValueError{
		Msg:    fmt.Sprintf("%q is none of %s", v, strings.Join(allowed, ", ")),
		Remedy: didYouMean(v, allowed),
	}
}
