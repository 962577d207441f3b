package test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cnamed/test/program"
	"cnamed/test/world"
)

// TestCheckersFindNoFault has those look at a server who look for faults in
// servers: Zonemaster and DNSViz, the tools of BIND, Knot and ldns, and Unbound at
// its strictest. In a network of their own they find it by delegations from the root.
func TestCheckersFindNoFault(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"zonemaster-cli", "dnsviz", "dig", "delv", "kdig", "drill", "unbound", "knotd", "ip"} {
		required(t, pathOf(name) != "", name+" is not installed")
	}
	runInside(t, "TestCheckersInside")
}

// host is a name server in the namespace. Its addresses belong to nobody there,
// and are of the kind that checkers take for public ones.
type host struct{ name, ip4, ip6 string }

var (
	parents = []host{{"a.root-servers.net.", "185.1.1.1", "2600:1::1"}, {"b.root-servers.net.", "186.1.1.1", "2601:1::1"}}
	ours    = []host{{"ns1." + world.Zone + ".", "187.1.1.1", "2602:1::1"}, {"ns2." + world.Zone + ".", "188.1.1.1", "2603:1::1"}}
)

// TestCheckersInside is the part of the test above that runs in the namespaces.
func TestCheckersInside(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		t.Skip("runs in the namespaces that TestCheckersFindNoFault makes")
	}
	folder := t.TempDir()
	ip := pathOf("ip")
	run(t, ip, "link", "set", "lo", "up")
	for _, h := range slices.Concat(parents, ours) {
		run(t, ip, "address", "add", h.ip4+"/32", "dev", "lo")
		run(t, ip, "address", "add", h.ip6+"/128", "dev", "lo")
	}
	run(t, ip, "-4", "route", "add", "default", "dev", "lo") // or DNSViz takes the network for dead
	run(t, ip, "-6", "route", "add", "default", "dev", "lo")
	resolvConf := filepath.Join(folder, "resolv.conf")
	write(t, resolvConf, "nameserver "+unboundAddr+"\n")
	run(t, "mount", "--bind", resolvConf, "/etc/resolv.conf")

	startParents(t, folder)
	startChecked(t)
	hints := filepath.Join(folder, "hints")
	write(t, hints, rootHints())
	startStrictUnbound(t, folder, hints)

	t.Run("zonemaster", func(t *testing.T) { checkByZonemaster(t, hints) })
	t.Run("dnsviz", func(t *testing.T) { checkByDNSViz(t, folder) })
	t.Run("tools", func(t *testing.T) { checkByTools(t, hints) })
}

// startParents starts the servers of the root and all that is between it and our
// zone, with the reverse zones in one.
func startParents(t *testing.T, folder string) {
	const soa = "@ 3600 SOA a.root-servers.net. hostmaster.root-servers.net. 1 14400 3600 1209600 300\n"
	var servers, addresses, glue, reverse strings.Builder
	for _, h := range parents {
		fmt.Fprintf(&servers, "@ 86400 NS %s\n", h.name)
		fmt.Fprintf(&addresses, "%[1]s 86400 A %[2]s\n%[1]s 86400 AAAA %[3]s\n", h.name, h.ip4, h.ip6)
	}
	for _, h := range ours {
		fmt.Fprintf(&glue, "auth 3600 NS %[1]s\n%[1]s 3600 A %[2]s\n%[1]s 3600 AAAA %[3]s\n", h.name, h.ip4, h.ip6)
	}
	for _, h := range slices.Concat(parents, ours) {
		fmt.Fprintf(&reverse, "%s 3600 PTR %s\n%s 3600 PTR %s\n", reverseName(h.ip4), h.name, reverseName(h.ip6), h.name)
	}
	delegation := func(zone string) string { return strings.ReplaceAll(servers.String(), "@", zone) }
	conf := fmt.Sprintf("server:\n    rundir: %[1]q\n    listen: [%[2]s, %[3]s, %[4]s, %[5]s]\ndatabase:\n    storage: %[1]q\nzone:\n",
		folder, parents[0].ip4, parents[0].ip6, parents[1].ip4, parents[1].ip6)
	for zone, records := range map[string]string{
		".":            addresses.String() + delegation("org") + delegation("net") + delegation("arpa"),
		"net.":         addresses.String(),
		"org.":         delegation("example"),
		"example.org.": glue.String() + "@ 3600 MX 0 mail\nmail 3600 A " + parents[0].ip4 + "\n_acme-challenge 3600 CNAME _acme-challenge.auth\n",
		"arpa.":        reverse.String(),
	} {
		file := filepath.Join(folder, "zone-"+strings.TrimSuffix(zone, "."))
		write(t, file, "$ORIGIN "+zone+"\n"+soa+servers.String()+records)
		conf += fmt.Sprintf("  - domain: %q\n    file: %q\n", zone, file)
	}
	write(t, filepath.Join(folder, "knot.conf"), conf)
	ready := func() error { return soaOf(t, parents[1].ip4, "example.org.") }
	startPeer(t, ready, pathOf("knotd"), "-c", filepath.Join(folder, "knot.conf"))
}

func soaOf(t *testing.T, server, zone string) error {
	return soa(testContext(t), "udp", server+":53", zone)
}

// reverseName is the name of an address below arpa.
func reverseName(ip string) string {
	addr := netip.MustParseAddr(ip)
	var labels []string
	for _, b := range addr.AsSlice() {
		if addr.Is4() {
			labels = append(labels, fmt.Sprint(b))
			continue
		}
		labels = append(labels, fmt.Sprintf("%x", b>>4), fmt.Sprintf("%x", b&0xF))
	}
	slices.Reverse(labels)
	if addr.Is4() {
		return strings.Join(labels, ".") + ".in-addr.arpa."
	}
	return strings.Join(labels, ".") + ".ip6.arpa."
}

// startChecked starts the server of the zone as its operator would.
func startChecked(t *testing.T) {
	args := []string{
		"--domain", world.Zone, "--ip", ours[0].ip4, "--data", t.TempDir(), "--api-listen", "127.0.0.1:8080", "--api-tls", "none",
		"--dns-admin", "hostmaster@example.org",
	}
	for _, h := range ours {
		args = append(args, "--dns-listen", h.ip4+":53", "--dns-listen", "["+h.ip6+"]:53", "--dns-name-servers", h.name,
			"--dns-records", h.name+" A "+h.ip4, "--dns-records", h.name+" AAAA "+h.ip6)
	}
	s, err := program.Start(testContext(t), binary, program.Options{}, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
}

func rootHints() string {
	var b strings.Builder
	for _, h := range parents {
		fmt.Fprintf(&b, ". 86400 NS %[1]s\n%[1]s 86400 A %[2]s\n%[1]s 86400 AAAA %[3]s\n", h.name, h.ip4, h.ip6)
	}
	return b.String()
}

func startStrictUnbound(t *testing.T, folder, hints string) {
	conf := filepath.Join(folder, "strict.conf")
	write(t, conf, fmt.Sprintf(`server:
    directory: %q
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    interface: %s
    do-not-query-localhost: no
    module-config: "iterator"
    root-hints: %q
    use-caps-for-id: yes
    qname-minimisation: yes
    qname-minimisation-strict: yes
    harden-glue: yes
    harden-below-nxdomain: yes
    harden-referral-path: yes
    harden-short-bufsize: yes
    harden-large-queries: yes
    harden-unknown-additional: yes
remote-control:
    control-enable: no
`, folder, unboundAddr, hints))
	// The option came with Unbound 1.18.
	if _, err := command(testContext(t), pathOf("unbound-checkconf"), conf); err != nil {
		text, _ := os.ReadFile(conf)
		write(t, conf, strings.Replace(string(text), "    harden-unknown-additional: yes\n", "", 1))
	}
	startPeer(t, func() error { return soaOf(t, unboundAddr, world.Zone+".") }, pathOf("unbound"), "-d", "-c", conf)
}

// zonemasterNotices is what Zonemaster says of the zone, by decision. All else it
// says is a failure, and so is what it does not say any more.
var zonemasterNotices = map[string]string{
	"NOT_SIGNED":                          "DNSSEC is the operator's choice",
	"NEITHER_DNSKEY_NOR_DS":               "likewise",
	"SOA_DEFAULT_TTL_MAXIMUM_VALUE_LOWER": "a negative answer that was kept for 300 s would delay the next validation",
	"Z09_MISSING_MAIL_TARGET":             "the zone takes no mail",
}

func checkByZonemaster(t *testing.T, hints string) {
	out := run(t, pathOf("zonemaster-cli"), "--hints", hints, "--level", "INFO", "--raw", world.Zone)
	said := make(map[string]bool)
	for line := range strings.Lines(out) {
		// seconds, level, what, details
		fields := strings.Fields(line)
		if len(fields) < 3 || !slices.Contains([]string{"NOTICE", "WARNING", "ERROR", "CRITICAL"}, fields[1]) {
			continue
		}
		said[fields[2]] = true
		if zonemasterNotices[fields[2]] == "" {
			t.Error(strings.TrimSpace(line))
		}
	}
	for notice := range zonemasterNotices {
		if !said[notice] {
			t.Errorf("%s was not said", notice)
		}
	}
	if !strings.Contains(out, "CASE_QUERIES_RESULTS_OK") || !strings.Contains(out, ours[1].ip6) {
		t.Errorf("not all servers were asked everything")
	}
	if t.Failed() {
		t.Log(out)
	}
}

// checkByDNSViz asks every server directly, over both families and transports.
func checkByDNSViz(t *testing.T, folder string) {
	probe := []string{"probe", "-A", "-a", world.Zone}
	for zone, hosts := range map[string][]host{".": parents, "example.org": parents, world.Zone: ours} {
		var servers []string
		for _, h := range hosts {
			name := strings.TrimSuffix(h.name, ".")
			servers = append(servers, name+"="+h.ip4, name+"=["+h.ip6+"]")
		}
		probe = append(probe, "-x", zone+":"+strings.Join(servers, ","))
	}
	result := filepath.Join(folder, "dnsviz.json")
	run(t, pathOf("dnsviz"), append(probe, "-o", result, world.Zone, "_acme-challenge."+world.Zone, "missing."+world.Zone)...)
	if out := run(t, pathOf("dnsviz"), "grok", "-r", result, "-l", "info"); !strings.Contains(out, ours[1].ip6) {
		t.Errorf("not all servers were asked:\n%s", out)
	}
	out := run(t, pathOf("dnsviz"), "grok", "-r", result, "-l", "warning")
	if strings.TrimSpace(out) != "" {
		t.Errorf("DNSViz says:\n%s", out)
	}
}

// checkByTools asks with the tools of others and every option of the kind that a
// server can stumble over.
func checkByTools(t *testing.T, hints string) {
	complaint := regexp.MustCompile(`(?i)warning|error[^:]|malformed|mismatch|unexpected|extra bytes|timed out|failed|bogus`)
	harmless := strings.NewReplacer("NOERROR", "", "resolution failed: ncache nx", "") // delv says so of NXDOMAIN and NODATA
	zone, server := world.Zone, ours[0].ip4
	for _, line := range []string{
		"dig @SERVER ZONE SOA +norec", "dig @SERVER ZONE SOA +tcp +norec", "dig @SERVER ZONE NS +norec +dnssec +nsid +cookie",
		"dig @SERVER ZONE ANY +norec", "dig @SERVER _acme-challenge.ZONE TXT +norec +edns=1 +noednsneg",
		"dig @SERVER ZONE NS +edns=1 +ednsnegotiation +norec", "dig @SERVER ZONE DNSKEY +dnssec +cd +ad +norec", "dig @SERVER ZONE TXT +subnet=192.0.2.0/24 +norec",
		"dig @SERVER ZONE NS +tcp +keepopen +keepalive +padding=128 +norec", "dig @SERVER ZONE SOA +ednsopt=65001:00ff +ednsflags=0x3fff +norec",
		"dig @SERVER missing.ZONE A +norec +qid=1", "dig @SERVER ZONE SOA +bufsize=512 +norec", "dig @SERVER MISSING.ZONE TYPE65280 +norec",
		"dig @" + ours[1].ip6 + " ZONE NS +norec",
		"dig @" + unboundAddr + " _acme-challenge.example.org TXT", "dig @" + unboundAddr + " +trace +nodnssec ZONE SOA",
		"delv @SERVER -i ZONE NS", "delv @" + unboundAddr + " -i _acme-challenge.ZONE TXT", "delv @" + unboundAddr + " -i missing.ZONE A",
		"kdig @SERVER ZONE SOA +norec", "kdig @SERVER ZONE NS +tcp +keepopen", "kdig @SERVER ZONE NS +dnssec +nsid +cookie=0123456789abcdef",
		"kdig @SERVER ZONE SOA +edns=1", "kdig @SERVER ZONE A +bufsize=512 +padding=64", "kdig @SERVER _acme-challenge.ZONE TXT +noall +answer",
		"drill -r HINTS -T ZONE SOA", "drill -r HINTS -T _acme-challenge.ZONE TXT", "drill -D ZONE NS @SERVER", "drill -t ZONE SOA @SERVER",
		"drill -o rd missing.ZONE A @SERVER",
	} {
		line = strings.NewReplacer("ZONE", zone, "SERVER", server, "HINTS", hints).Replace(line)
		words := strings.Fields(line)
		out, err := command(testContext(t), pathOf(words[0]), words[1:]...)
		if err != nil || complaint.MatchString(harmless.Replace(out)) {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		if strings.Contains(line, "SOA") && !strings.Contains(out, "hostmaster.example.org") && !strings.Contains(line, "edns=1") {
			t.Errorf("%s: no answer:\n%s", line, out)
		}
	}
}
