package dnsserver_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// table is one file of testdata: a zone, and questions with the replies that they must get. Its lines:
//
//	zone ORIGIN            with addr, ns, admin, ttl, negative-ttl and record as in ZoneConfig
//	name LABEL VALUE...    a registered name; VALUE can be a*300, as in strings of answers; "name LABEL many 40" has 40 values of 43 octets
//	broken                 Names fails
//	secret HEX             a cookie secret; nsid, version and identity as in Server
//	case TITLE             begins a case. The title names the RFC section
//	ask NAME TYPE FLAG...  rd cd ad do tcp edns=SIZE version=N class=CH option=CODE[:HEX]
//	from ADDR [TIME]       who asks, and when, in Unix time
//	raw HEX...             a request as it is on the wire, in place of ask
//	reply RCODE FLAG...    aa tc rd; or: reply none
//	answer, authority, additional RECORD    in order
//	answers N              their number alone
//	ede CODE
//	option CODE HEX        of the reply, in order, without extended errors
//	opt SIZE [do]          or: opt none. The OPT record; without this line it is only checked that there is one if there was one
type table struct {
	config  dnsserver.ZoneConfig
	names   *names
	queries []tableCase

	secrets                 []dnsserver.CookieSecret
	nsid, version, identity string
}

type tableCase struct {
	title     string
	request   []byte
	transport dnsserver.Transport
	client    netip.Addr
	now       time.Time
	reply     string
	options   []string
	sections  [3][]string
	answers   int
	ede       int
	opt       string
}

func TestTable(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, file := range files {
		tab := readTable(t, file)
		zone, err := dnsserver.NewZone(tab.config, tab.names)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, c := range tab.queries {
			server := &dnsserver.Server{
				Zones: dnsserver.NewZoneSet(zone), CookieSecrets: tab.secrets, NSID: tab.nsid, Version: tab.version, Identity: tab.identity,
				Now: func() time.Time { return c.now },
			}
			t.Run(filepath.Base(file)+"/"+c.title, func(t *testing.T) {
				t.Parallel()
				checkCase(t, server, c)
			})
		}
	}
}

func checkCase(t *testing.T, server *dnsserver.Server, c tableCase) {
	if !strings.Contains(c.title, "RFC ") {
		t.Error("the title names no RFC")
	}
	wire := server.Answer(nil, c.request, dnsserver.Client{Transport: c.transport, Addr: netip.AddrPortFrom(c.client, 53)})
	if wire == nil || c.reply == "none" {
		if wire != nil || c.reply != "none" {
			t.Fatalf("reply %x, want %s", wire, c.reply)
		}
		return
	}
	checkReply(t, server, c.request, wire, c.transport)
	var m dns.Msg
	if err := m.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	if got := describe(&m); got != c.reply {
		t.Errorf("reply %s, want %s", got, c.reply)
	}
	if opt := describeOPT(&m); c.opt != "" && opt != c.opt {
		t.Errorf("OPT %q, want %q", opt, c.opt)
	}
	ede := -1
	var options []string
	if opt := m.IsEdns0(); opt != nil {
		m.Extra = slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr == opt })
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				ede = int(e.InfoCode)
			} else {
				options = append(options, describeOption(o))
			}
		}
	}
	if !slices.Equal(options, c.options) {
		t.Errorf("options %q, want %q", options, c.options)
	}
	if ede != c.ede {
		t.Errorf("extended error %d, want %d", ede, c.ede)
	}
	if c.answers >= 0 {
		if len(m.Answer) != c.answers {
			t.Errorf("%d answers, want %d", len(m.Answer), c.answers)
		}
		m.Answer = nil
	}
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		if got := texts(section); !slices.Equal(got, c.sections[i]) {
			t.Errorf("%s\n\t%s\nwant\n\t%s", sectionNames[i], strings.Join(got, "\n\t"), strings.Join(c.sections[i], "\n\t"))
		}
	}
}

var sectionNames = []string{"answer", "authority", "additional"}

func texts(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		out = append(out, strings.Join(strings.Fields(rr.String()), " "))
	}
	return out
}

// describe is the reply's RCODE and flags, as the tables have it.
func describe(m *dns.Msg) string {
	out := dns.RcodeToString[m.Rcode]
	if m.Rcode == dns.RcodeBadVers {
		out = "BADVERS"
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"aa", m.Authoritative}, {"tc", m.Truncated}, {"rd", m.RecursionDesired}, {"ra", m.RecursionAvailable},
		{"z", m.Zero}, {"ad", m.AuthenticatedData}, {"cd", m.CheckingDisabled},
	} {
		if flag.set {
			out += " " + flag.name
		}
	}
	return out
}

func describeOPT(m *dns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return "none"
	}
	out := strconv.Itoa(int(opt.UDPSize()))
	if opt.Do() {
		out += " do"
	}
	return out
}

// describeOption is an option's code and its data in hexadecimal.
func describeOption(o dns.EDNS0) string {
	switch o := o.(type) {
	case *dns.EDNS0_COOKIE:
		return fmt.Sprintf("%d %s", o.Option(), o.Cookie)
	case *dns.EDNS0_NSID:
		return fmt.Sprintf("%d %s", o.Option(), o.Nsid)
	case *dns.EDNS0_TCP_KEEPALIVE:
		return fmt.Sprintf("%d %04x", o.Option(), o.Timeout)
	}
	return fmt.Sprintf("%d %v", o.Option(), o)
}

func readTable(t testing.TB, file string) *table {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tab := &table{names: newNames()}
	for i, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := tab.line(line); err != nil {
			t.Fatalf("%s:%d: %v", file, i+1, err)
		}
	}
	return tab
}

func (tab *table) line(line string) (err error) {
	key, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	words := strings.Fields(rest)
	switch key {
	case "zone":
		tab.config.Origin = rest
	case "addr":
		tab.config.Addrs = append(tab.config.Addrs, netip.MustParseAddr(rest))
	case "ns":
		tab.config.NameServers = append(tab.config.NameServers, rest)
	case "admin":
		tab.config.Admin = rest
	case "ttl":
		tab.config.TTL, err = time.ParseDuration(rest)
	case "negative-ttl":
		tab.config.NegativeTTL, err = time.ParseDuration(rest)
	case "record":
		tab.config.Records = append(tab.config.Records, rest)
	case "broken":
		tab.names.broken = true
	case "secret":
		var secret dnsserver.CookieSecret
		secret, err = dnsserver.ParseCookieSecret(rest)
		tab.secrets = append(tab.secrets, secret)
	case "nsid":
		tab.nsid = rest
	case "version":
		tab.version = rest
	case "identity":
		tab.identity = rest
	case "name":
		tab.names.values[words[0]] = expand(words[1:])
	case "case":
		tab.queries = append(tab.queries, tableCase{title: rest, answers: -1, ede: -1})
	default:
		if len(tab.queries) == 0 {
			return fmt.Errorf("%q before the first case", key)
		}
		return tab.queries[len(tab.queries)-1].line(key, rest, words)
	}
	return err
}

func (c *tableCase) line(key, rest string, words []string) (err error) {
	switch key {
	case "ask":
		c.request, c.transport, err = ask(words)
	case "raw":
		c.request, err = hex.DecodeString(strings.Join(words, ""))
	case "from":
		c.client, err = netip.ParseAddr(words[0])
		if len(words) > 1 {
			seconds, _ := strconv.ParseInt(words[1], 10, 64)
			c.now = time.Unix(seconds, 0)
		}
	case "reply":
		c.reply = rest
	case "answers":
		c.answers, err = strconv.Atoi(rest)
	case "opt":
		c.opt = rest
	case "option":
		c.options = append(c.options, rest)
	case "ede":
		c.ede, err = strconv.Atoi(rest)
	default:
		i := slices.Index(sectionNames, key)
		if i < 0 {
			return fmt.Errorf("unknown line %q", key)
		}
		c.sections[i] = append(c.sections[i], strings.Join(expandQuoted(words), " "))
	}
	return err
}

func expand(words []string) []string {
	if len(words) == 2 && words[0] == "many" {
		n, _ := strconv.Atoi(words[1])
		words = nil
		for i := range n {
			words = append(words, fmt.Sprintf("%043d", i))
		}
	}
	for i, word := range words {
		if text, times, ok := strings.Cut(word, "*"); ok {
			n, _ := strconv.Atoi(times)
			words[i] = strings.Repeat(text, n)
		}
	}
	return words
}

// expandQuoted is expand for the strings of a TXT record.
func expandQuoted(words []string) []string {
	for i, word := range words {
		if strings.HasPrefix(word, `"`) && strings.Contains(word, "*") {
			words[i] = strconv.Quote(expand([]string{strings.Trim(word, `"`)})[0])
		}
	}
	return words
}
