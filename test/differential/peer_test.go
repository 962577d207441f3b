package differential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
	"cnamed/test/program"
)

// patience bounds every wait. None is that long unless the test fails.
const patience = 30 * time.Second

// The rate limit, which is on by default, would be all that a thousand queries a second see. minimal-responses: what
// NSD may add of its own accord is left out, as here.
const nsdConfig = `server:
  ip-address: 127.0.0.1@%[2]d
  server-count: 1
  username: ""
  chroot: ""
  pidfile: ""
  database: ""
  zonesdir: "%[1]s"
  xfrdfile: "%[1]s/xfrd.state"
  xfrdir: "%[1]s"
  zonelistfile: "%[1]s/zone.list"
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
  minimal-responses: yes
remote-control:
  control-enable: no
`

const knotConfig = `server:
    rundir: "%[1]s"
    listen: 127.0.0.1@%[2]d
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: "%[1]s"
template:
  - id: default
    storage: "%[1]s"
    file: "%%s.zone"
    semantic-checks: off
    zonefile-load: whole
    journal-content: none
zone:
`

// startNSD runs NSD with the zones until the test ends.
func startNSD(t *testing.T, zones []*zone) netip.AddrPort {
	return startPeer(t, zones, "nsd", func(dir string, port int) []string {
		config := fmt.Sprintf(nsdConfig, dir, port)
		for _, z := range zones {
			config += fmt.Sprintf("zone:\n  name: %q\n  zonefile: %q\n", z.config.Origin, z.config.Origin+".zone")
		}
		write(t, filepath.Join(dir, "nsd.conf"), config)
		return []string{"-d", "-c", filepath.Join(dir, "nsd.conf")}
	})
}

// startKnot runs Knot with the zones until the test ends.
func startKnot(t *testing.T, zones []*zone) netip.AddrPort {
	return startPeer(t, zones, "knotd", func(dir string, port int) []string {
		config := fmt.Sprintf(knotConfig, dir, port)
		for _, z := range zones {
			config += fmt.Sprintf("  - domain: %q\n", z.config.Origin)
		}
		write(t, filepath.Join(dir, "knot.conf"), config)
		return []string{"-c", filepath.Join(dir, "knot.conf")}
	})
}

// startPeer writes the zone files, starts a server and waits until it answers for all zones.
func startPeer(t *testing.T, zones []*zone, daemon string, configure func(dir string, port int) (args []string)) netip.AddrPort {
	t.Helper()
	path := pathOf(daemon)
	required(t, path != "", daemon+" is not installed")
	dir := t.TempDir()
	for _, z := range zones {
		write(t, filepath.Join(dir, z.config.Origin+".zone"), z.text())
	}
	for range 5 { // somebody may take the port in between
		port, err := program.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
		var said bytes.Buffer
		cmd := exec.Command(path, configure(dir, int(addr.Port()))...)
		cmd.Stdout, cmd.Stderr = &said, &said
		cmd.WaitDelay = patience
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(exited)
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Signal(os.Interrupt) // NSD has children, which a kill would leave behind
			select {
			case <-exited:
			case <-time.After(patience):
				_ = cmd.Process.Kill()
				<-exited
			}
			if t.Failed() {
				t.Logf("%s said:\n%s", daemon, &said)
			}
		})
		switch err := ready(addr, zones, exited); {
		case err == nil:
			return addr
		case !errors.Is(err, errExited):
			t.Fatalf("%s: %v", daemon, err)
		}
		t.Logf("%s ended, trying another port:\n%s", daemon, &said)
	}
	t.Fatalf("%s does not start", daemon)
	return netip.AddrPort{}
}

var errExited = errors.New("the server has exited")

// ready waits until the server answers for every zone.
func ready(server netip.AddrPort, zones []*zone, exited <-chan struct{}) error {
	client := &dns.Client{Timeout: 200 * time.Millisecond}
	deadline := time.After(patience)
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for _, z := range zones {
		for {
			m := new(dns.Msg).SetQuestion(z.origin(), dns.TypeSOA)
			reply, _, err := client.Exchange(m, server.String())
			if err == nil && reply.Rcode == dns.RcodeSuccess && len(reply.Answer) == 1 {
				break
			}
			select {
			case <-exited:
				return errExited
			case <-deadline:
				return fmt.Errorf("no answer for %s: %v %v", z.origin(), reply, err)
			case <-retry.C:
			}
		}
	}
	return nil
}

// startOurs serves a zone until the test ends.
func startOurs(t *testing.T, z *zone) netip.AddrPort {
	t.Helper()
	endpoint, err := dnsserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- z.server.Serve(ctx, endpoint) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return endpoint.Addr()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// required skips a test of a part that this machine lacks; in CI it fails it.
func required(t *testing.T, have bool, what string) {
	t.Helper()
	switch {
	case have:
	case os.Getenv("CI") == "true":
		t.Fatalf("%s, which CI must have", what)
	default:
		t.Skip(what)
	}
}

func pathOf(program string) string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		}
	}
	return ""
}

// indent puts text under a heading.
func indent(text string) string {
	return "\t" + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n\t")
}
