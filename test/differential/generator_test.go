package differential

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// labels are few, so that names collide: a name is then an ancestor, an alias, a wildcard and a delegation of others.
var labels = []string{"a", "b", "C", "*", "_tcp", "x-1", "Www"}

// generator makes zones from a seed, the same each time.
type generator struct {
	*rand.Rand
	origin string
}

// zone makes a zone of about as many records. What NewZone finds fault with is left out.
func (g *generator) zone(t *testing.T, size int) *zone {
	t.Helper()
	config := dnsserver.ZoneConfig{
		Origin:      g.origin,
		Addrs:       []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")},
		NameServers: []string{"Ns1." + g.origin, "ns.outside.example."},
	}
	for range size {
		config.Records = append(config.Records, g.records()...)
	}
	n := names{
		"8e5700ea-0000-4000-8000-000000000000": {"value-of-the-name", "value-of-the-wildcard"},
		"8e5700ea-0000-4000-8000-000000000001": {},
		"8e5700ea-0000-4000-8000-000000000002": {strings.Repeat("long", 150)},
		dnsserver.ChallengeLabel:               {"own"},
	}
	for {
		_, err := dnsserver.NewZone(config, n)
		faults := faultsIn(t, err)
		if len(faults) == 0 {
			return newZone(t, config, n)
		}
		for _, fault := range faults {
			if fault.Field != "records" {
				t.Fatalf("zone %s: %v", g.origin, fault)
			}
			config.Records[fault.Index] = ""
		}
		config.Records = slices.DeleteFunc(config.Records, func(text string) bool { return text == "" })
	}
}

// faultsIn takes apart what NewZone joins.
func faultsIn(t *testing.T, err error) (faults []*dnsserver.ConfigError) {
	t.Helper()
	if err == nil {
		return nil
	}
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		var fault *dnsserver.ConfigError
		if !errors.As(e, &fault) {
			t.Fatal(e)
		}
		faults = append(faults, fault)
	}
	return faults
}

// records makes a record, or some that belong together.
func (g *generator) records() []string {
	owner := g.path(4)
	line := func(format string, args ...any) []string {
		return []string{owner + " " + fmt.Sprintf(format, args...)}
	}
	switch g.IntN(20) {
	case 0, 1, 2:
		return line("A 192.0.2.%d", g.IntN(3))
	case 3:
		return line("AAAA 2001:db8::%x", g.IntN(3))
	case 4, 5:
		return line("300 TXT %s", g.pick(`"one"`, `"two" "strings"`, `""`, `"\"quoted\\ \000\255"`, `"Case"`))
	case 6:
		return line("MX %d %s", g.IntN(3), g.target())
	case 7:
		return line("SRV 0 %d 443 %s", g.IntN(3), g.target())
	case 8:
		return line("%s", g.pick(`CAA 0 issue "ca.example"`, "PTR Host.example.", `HINFO "a" "b"`,
			`NAPTR 1 2 "u" "E2U" "" Host.example.`, "TLSA 3 1 1 00ff", "SSHFP 4 2 00ff", `TYPE65280 \# 3 0a0b0c`,
			`URI 1 2 "https://example.com"`, "LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m"))
	case 9, 10, 11, 12, 13:
		return line("CNAME %s", g.target())
	case 14:
		return []string{"* TXT \"from the wildcard\"", "* MX 0 " + g.target()}
	default:
		return g.delegation()
	}
}

// delegation makes a cut with servers below it, beside it and elsewhere, with their addresses and a DS or without.
func (g *generator) delegation() []string {
	cut := g.path(2)
	var out []string
	for range 1 + g.IntN(3) {
		server := g.pick("Ns."+cut, cut, "ns.deeper."+cut, "ns."+g.path(1), "ns.outside.example.", g.path(2), "@")
		out = append(out, cut+" NS "+server)
		if !strings.HasSuffix(server, ".") && g.IntN(4) > 0 {
			out = append(out, server+" A 192.0.2.9")
			if g.IntN(2) == 0 {
				out = append(out, server+" AAAA 2001:db8::9")
			}
		}
	}
	if g.IntN(3) == 0 {
		out = append(out, cut+" DS 1 13 2 "+strings.Repeat("00", 32))
	}
	return out
}

// target is a name to point to, seldom one that is outside.
func (g *generator) target() string {
	switch g.IntN(10) {
	case 0:
		return "host.outside.example."
	case 1:
		return "8e5700ea-0000-4000-8000-00000000000" + g.pick("0", "1", "2", "3")
	case 2:
		return "@"
	case 3:
		return "x-" + g.origin + "." // ends in the origin's letters, and is outside
	}
	return g.path(3)
}

// path is a name relative to the origin.
func (g *generator) path(depth int) string {
	var path []string
	for range 1 + g.IntN(depth) {
		path = append(path, g.pick(labels...))
	}
	return strings.Join(path, ".")
}

func (g *generator) pick(from ...string) string { return from[g.IntN(len(from))] }

// mixCase changes the case of some letters.
func (g *generator) mixCase(name string) string {
	return strings.Map(func(r rune) rune {
		if g.IntN(2) == 0 && ('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return r ^ 0x20
		}
		return r
	}, name)
}

// ancestors returns the names from name up to the apex of z.
func (z *zone) ancestors(name string) []string {
	var out []string
	for dns.IsSubDomain(z.origin(), name) {
		out = append(out, name)
		if strings.EqualFold(name, z.origin()) {
			break
		}
		next, _ := dns.NextLabel(name, 0)
		name = name[next:]
	}
	return out
}
