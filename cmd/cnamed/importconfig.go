package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"cnamed/config"
	"cnamed/registry/acmedns"
)

// convertConfig writes our configuration for one of acme-dns, with a comment
// wherever a setting means something else now. What it returns is a file with
// which the server starts: values that it would refuse are comments. ips are
// the addresses of the server, if the operator gave them; database is ours.
func convertConfig(old *acmedns.Config, data string, database config.Database, ips []string) (string, error) {
	if !utf8.ValidString(data) {
		return "", withHint(fmt.Errorf("the data folder %q is not UTF-8, as a configuration file must be", data), "choose another one with --data")
	}
	c := &converter{old: old, domain: strings.ToLower(strings.TrimSuffix(old.General.Domain, "."))}
	c.readRecords()
	if len(ips) > 0 {
		c.ips, c.ipsFrom = ips, "acme-dns has no such setting. They were given to the import."
	} else if c.findAddrs(); len(c.ips) == 0 {
		return "", withHint(fmt.Errorf("%s does not tell the public address of the server: records has no A or AAAA of %s", old.Path, c.domain),
			"give it to the import: --ip 203.0.113.5")
	}
	text := &configText{
		header: []string{
			"Written by cnamed import acme-dns, from " + old.Path + ".",
			"Comments say where a setting is not what it was there.",
		},
		tables: []*configTable{c.top(data, database), c.dns(), c.api(), c.acme(), c.log()},
	}
	return settle(text, c.domain)
}

// settle takes out what the server would refuse, value by value, until it takes
// all that is left.
func settle(text *configText, domain string) (string, error) {
	folder, err := os.MkdirTemp("", "cnamed-import-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "cnamed.toml")
	for {
		content, at := text.render()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return "", err
		}
		problems := config.AsProblems(checkAll(config.Load(file, nil)))
		if len(problems) == 0 {
			return content, nil
		}
		progress := false
		for _, p := range problems {
			v := at[p.Origin.Line]
			if v == nil || v.off != "" || p.Key == "domain" || p.Key == "ip" {
				continue
			}
			v.off = p.Err.Error()
			if hint := p.Hint(); hint != "" {
				v.off += "; " + hint
			}
			progress = true
		}
		if !progress {
			for _, p := range problems {
				p.Origin = config.Origin{} // a file that nobody will see
			}
			return "", fmt.Errorf("no configuration for %s can be made: %w", domain, problems)
		}
	}
}

// converter makes the tables of our configuration.
type converter struct {
	old     *acmedns.Config
	domain  string
	records []*oldRecord
	ips     []string
	ipsFrom string
}

// findAddrs looks for the public addresses of the server: those of the domain,
// of its name server, or the one that it listens on.
func (c *converter) findAddrs() {
	const none = "acme-dns has no such setting. "
	if c.ips = c.addrsOf(c.domain); len(c.ips) > 0 {
		c.ipsFrom = none + "They are those of the domain in records."
		return
	}
	if c.ips = c.addrsOf(plainName(c.old.General.NSName)); len(c.ips) > 0 {
		c.ipsFrom = none + "They are those of nsname in records."
		return
	}
	host, _, _ := net.SplitHostPort(c.old.General.Listen)
	if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
		c.ips, c.ipsFrom = []string{host}, none+"It is the address that it listened on."
	}
}

// addrsOf returns the addresses that records has for a name.
func (c *converter) addrsOf(name string) (addrs []string) {
	for _, r := range c.records {
		if name == "" || plainName(r.owner) != name || r.typ != "A" && r.typ != "AAAA" {
			continue
		}
		a, err := netip.ParseAddr(r.data[0])
		if err == nil && !a.IsUnspecified() && !slices.Contains(addrs, a.String()) {
			addrs = append(addrs, a.String())
		}
	}
	return addrs
}

func (c *converter) top(data string, database config.Database) *configTable {
	t := &configTable{}
	t.set("domain", c.old.General.Domain)
	t.setList("ip", plainValues(c.ips), "The public addresses of this server.", c.ipsFrom)
	if database == "" {
		t.set("data", data, "Folder of the accounts, which are not in the database of acme-dns any more: cnamed.db.")
		return t
	}
	t.set("data", data, "Folder of the API's certificate, and of the socket for commands.")
	t.set("database", database.Reveal(), "The accounts are here, and not in the database of acme-dns any more.")
	return t
}

func (c *converter) dns() *configTable {
	g := &c.old.General
	t := &configTable{name: "dns"}
	if listen, notes := c.dnsListen(); listen != "" {
		t.setList("listen", plainValues([]string{listen}), notes...)
	} else {
		t.note(append(notes, "Port 53 of every interface, by UDP and TCP.")...)
	}
	c.nameServers(t)
	if g.NSAdmin != "" {
		admin := mailbox(g.NSAdmin)
		var notes []string
		if admin != g.NSAdmin {
			notes = []string{"A mailbox. In acme-dns, nsadmin had a dot for the @: " + g.NSAdmin}
		}
		t.set("admin", admin, notes...)
	}
	if len(c.records) > 0 {
		notes := []string{"As they were written. acme-dns served each whole line in lower case, this server serves it as it is here."}
		var values []*configValue
		for _, r := range c.records {
			values = append(values, &configValue{text: r.text, notes: r.notes})
		}
		t.setList("records", values, notes...)
	}
	if g.Debug {
		t.note("debug was true: set level = \"debug\" in [log] for more to read.")
	}
	return t
}

// dnsListen returns the address, or nothing for the default.
func (c *converter) dnsListen() (listen string, notes []string) {
	g := &c.old.General
	family := ""
	protocol := strings.ToLower(g.Protocol)
	switch {
	case strings.HasSuffix(protocol, "4"):
		family = "4"
	case strings.HasSuffix(protocol, "6"):
		family = "6"
	}
	if strings.HasPrefix(protocol, "udp") || strings.HasPrefix(protocol, "tcp") {
		notes = append(notes, "protocol was "+g.Protocol+". This server always answers by UDP and by TCP, as a name server must (RFC 7766).")
	}
	listen = g.Listen
	if listen == "" {
		if family == "" {
			return "", notes
		}
		listen = ":53"
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen, notes // it will be found to be wrong
	}
	switch {
	case family == "4" && (host == "" || host == "::"):
		notes = append(notes, "protocol was "+g.Protocol+": IPv4 alone.")
		host = "0.0.0.0"
	case family == "6" && (host == "" || host == "0.0.0.0" || host == "::"):
		notes = append(notes, "protocol was "+g.Protocol+": IPv6 alone. On most systems this takes IPv4 as well; name the addresses to avoid it.")
		host = "::"
	case host == "localhost":
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), notes
}

// nameServers keeps nsname the primary server of the SOA, without changing which
// NS records there are.
func (c *converter) nameServers(t *configTable) {
	nsname := plainName(c.old.General.NSName)
	var servers []string
	for _, r := range c.records {
		if r.typ == "NS" && plainName(r.owner) == c.domain && len(r.data) == 1 {
			servers = append(servers, plainName(r.data[0]))
		}
	}
	switch {
	case nsname == "" || len(servers) > 0 && servers[0] == nsname || len(servers) == 0 && nsname == c.domain:
	case len(servers) == 0:
		t.setList("name-servers", plainValues([]string{nsname}),
			"nsname of acme-dns, which was in the SOA record alone. Here it is an NS record of the domain as well.")
	case slices.Contains(servers, nsname):
		t.setList("name-servers", plainValues([]string{nsname}), "nsname of acme-dns: the primary server in the SOA record. The others are in records.")
	default:
		t.note("nsname was " + nsname + ", which has no NS record in records. The SOA record names the first server that has one.")
	}
}

func plainValues(texts []string) (values []*configValue) {
	for _, text := range texts {
		values = append(values, &configValue{text: text})
	}
	return values
}

// mailbox turns the SOA's form of a mailbox, in which the first dot is the @
// and a dot before it has a backslash (RFC 1035 §8), into a mail address.
func mailbox(name string) string {
	name = strings.TrimSuffix(name, ".")
	if strings.Contains(name, "@") {
		return name
	}
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '.':
			return strings.ReplaceAll(name[:i], `\.`, ".") + "@" + name[i+1:]
		}
	}
	return name
}
