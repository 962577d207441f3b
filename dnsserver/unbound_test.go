package dnsserver_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

const unboundConfig = `
server:
	directory: "%[1]s"
	pidfile: ""
	chroot: ""
	username: ""
	use-syslog: no
	logfile: ""
	do-daemonize: no
	verbosity: 1
	interface: %[2]s
	port: %[3]d
	do-ip6: no
	module-config: "iterator"
	do-not-query-localhost: no
	use-caps-for-id: yes
	qname-minimisation: yes
	qname-minimisation-strict: yes
	harden-below-nxdomain: yes
	harden-glue: yes
	local-zone: "example.com" nodefault
	local-zone: "auth.example.org" nodefault
	access-control: 127.0.0.0/8 allow
remote-control:
	control-enable: no
stub-zone:
	name: "example.com"
	stub-addr: %[4]s@%[5]d
stub-zone:
	name: "auth.example.org"
	stub-addr: %[6]s@%[7]d
`

// TestUnbound asks through a real resolver of the kind that CAs run: it sends the query name in random case and takes
// no other back, asks for the ancestors of a name first, and believes an NXDOMAIN for all that is below.
func TestUnbound(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("unbound")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("unbound is not installed, and CI must not skip this")
		}
		t.Skip("unbound is not installed")
	}
	n := newNames()
	n.set("8e5700ea-0000-4000-8000-000000000000", "value-of-the-name", "value-of-the-wildcard")
	n.set("empty")
	n.set("full", expand([]string{"many", "40"})...)
	auth := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, n))})
	corp := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(corporateZone(t))})
	resolver := startUnbound(t, path, auth, corp)

	ask := func(network, question string, qtype uint16) *dns.Msg {
		t.Helper()
		return exchange(t, network, resolver, question, qtype)
	}
	for _, question := range []string{
		"_acme-challenge.example.com.",                           // through the CNAME, in another zone
		"_acme-challenge.a.b.www.example.com.",                   // below empty non-terminals of the corporate zone
		"8e5700ea-0000-4000-8000-000000000000.auth.example.org.", // directly
	} {
		m := ask("udp", question, dns.TypeTXT)
		if m.Rcode != dns.RcodeSuccess || !hasTXT(m, "value-of-the-name") || !hasTXT(m, "value-of-the-wildcard") {
			t.Errorf("%s: %v", question, m)
		}
	}
	for _, test := range []struct {
		question string
		qtype    uint16
		rcode    int
	}{
		{"8e5700ea-0000-4000-8000-000000000000.auth.example.org.", dns.TypeA, dns.RcodeSuccess},
		{"8e5700ea-0000-4000-8000-000000000000.auth.example.org.", dns.TypeCAA, dns.RcodeSuccess},
		{"8e5700ea-0000-4000-8000-000000000000.auth.example.org.", dns.TypeDNSKEY, dns.RcodeSuccess},
		{"empty.auth.example.org.", dns.TypeTXT, dns.RcodeSuccess},
		{"auth.example.org.", dns.TypeHTTPS, dns.RcodeSuccess},
		{"missing.auth.example.org.", dns.TypeTXT, dns.RcodeNameError},
		{"x.8e5700ea-0000-4000-8000-000000000000.auth.example.org.", dns.TypeTXT, dns.RcodeNameError},
	} {
		m := ask("udp", test.question, test.qtype)
		if m.Rcode != test.rcode || len(m.Answer) != 0 {
			t.Errorf("%s %s: %v", test.question, dns.Type(test.qtype), m)
		}
	}
	// The resolver has to come back over TCP for this one.
	if m := ask("tcp", "full.auth.example.org.", dns.TypeTXT); len(m.Answer) != 40 {
		t.Errorf("the truncated answer: %v", m)
	}
}

// corporateZone is where a domain's owner added the CNAME records.
func corporateZone(t *testing.T) *dnsserver.Zone {
	t.Helper()
	zone, err := dnsserver.NewZone(dnsserver.ZoneConfig{
		Origin: "example.com",
		Addrs:  []netip.Addr{addr},
		Records: []string{
			"_acme-challenge CNAME 8e5700ea-0000-4000-8000-000000000000.auth.example.org.",
			"_acme-challenge.a.b.www CNAME 8e5700ea-0000-4000-8000-000000000000.auth.example.org.",
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func hasTXT(m *dns.Msg, value string) bool {
	for _, rr := range m.Answer {
		if txt, ok := rr.(*dns.TXT); ok && strings.Join(txt.Txt, "") == value {
			return true
		}
	}
	return false
}

// startUnbound runs Unbound until the test ends, and returns its address once it answers.
func startUnbound(t *testing.T, path string, auth, corp netip.AddrPort) string {
	t.Helper()
	for range 5 { // somebody may take the port in between
		port := freePort(t)
		dir := t.TempDir()
		config := filepath.Join(dir, "unbound.conf")
		text := fmt.Sprintf(unboundConfig, dir, "127.0.0.1", port, corp.Addr(), corp.Port(), auth.Addr(), auth.Port())
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cmd := exec.CommandContext(ctx, path, "-d", "-p", "-c", config)
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		cmd.WaitDelay = timeout
		if err := cmd.Start(); err != nil {
			cancel()
			t.Fatal(err)
		}
		exited := make(chan struct{})
		go func() {
			cmd.Wait()
			close(exited)
		}()
		t.Cleanup(func() {
			cancel()
			<-exited
			if t.Failed() {
				t.Logf("unbound said:\n%s", &output)
			}
		})
		server := fmt.Sprintf("127.0.0.1:%d", port)
		if answers(server, exited) {
			return server
		}
		select {
		case <-exited:
			t.Logf("unbound ended; again on another port")
		default:
			t.Fatal("unbound does not answer")
		}
	}
	t.Fatal("unbound does not start")
	return ""
}

// answers asks until there is a reply, the process has exited, or it takes too long.
func answers(server string, exited <-chan struct{}) bool {
	client := &dns.Client{Timeout: 100 * time.Millisecond}
	deadline := time.After(timeout)
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		m := new(dns.Msg).SetQuestion("auth.example.org.", dns.TypeSOA)
		if reply, _, err := client.Exchange(m, server); err == nil && reply.Response && reply.Rcode == dns.RcodeSuccess {
			return true
		}
		select {
		case <-exited:
			return false
		case <-deadline:
			return false
		case <-retry.C:
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}
