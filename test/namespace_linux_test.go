package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cnamed/test/ca"
	"cnamed/test/program"
	"cnamed/test/world"
)

// TestIssueThroughUnboundAtPort53 has a network of its own, in which all servers
// listen on port 53, and a system resolver of its own: Unbound, as strict as it
// goes (0x20, QNAME minimisation, hardening). The CA asks Unbound. `cnamed issue`
// is told of no resolver: it finds every authoritative server by the delegations.
func TestIssueThroughUnboundAtPort53(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"unbound", "knotd", "ip"} {
		required(t, pathOf(name) != "", name+" is not installed")
	}
	runInside(t, "TestInside")
}

// runInside runs a test of this package again, in namespaces of its own.
func runInside(t *testing.T, name string) {
	t.Helper()
	may := exec.Command("unshare", "-r", "-n", "-m", "true").Run() == nil
	required(t, may, "a network namespace of one's own is not allowed here")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inside := exec.CommandContext(testContext(t), "unshare", "-r", "-n", "-m", self, "-test.run=^"+name+"$", "-test.v")
	inside.Env = append(os.Environ(), insideVariable+"="+binary)
	out, err := inside.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+name) {
		t.Fatalf("the test inside did not run:\n%s", out)
	}
}

// The addresses of the servers in the namespace.
const (
	unboundAddr = "127.0.0.1"
	corpAddr1   = "127.0.0.2"
	corpAddr2   = "127.0.0.3"
	authAddr    = "127.0.0.4"
)

// TestInside is the part of the test above that runs in the namespaces.
func TestInside(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		t.Skip("runs in the namespaces that TestIssueThroughUnboundAtPort53 makes")
	}
	ctx := testContext(t)
	folder := t.TempDir()
	resolvConf := filepath.Join(folder, "resolv.conf")
	write(t, resolvConf, "nameserver "+unboundAddr+"\n")
	run(t, pathOf("ip"), "link", "set", "lo", "up")
	run(t, "mount", "--bind", resolvConf, "/etc/resolv.conf")

	api := "http://127.0.0.4:8080"
	startAt53(t, folder, world.Zone, authAddr, "--api-listen", "127.0.0.4:8080",
		"--dns-name-servers", "ns1."+world.Zone, "--dns-name-servers", "ns2."+world.Zone)
	dir := filepath.Join(folder, "client")
	out := run(t, binary, "register", "--dir", dir, "--server", api, "example.com")
	cname, _, _ := strings.Cut(out[strings.Index(out, "_acme-challenge"):], "\n")

	startUnbound(t, folder)
	authority, err := ca.Start(ca.Options{Resolver: unboundAddr + ":53"})
	if err != nil {
		t.Fatal(err)
	}
	defer authority.Close()
	root := filepath.Join(folder, "root.pem")
	write(t, root, string(authority.RootPEM()))
	issue := []string{"issue", "--dir", dir, "--server", api, "--ca", authority.Directory(), "--ca-root", root, "--agree-tos",
		"-d", "example.com", "-d", "*.example.com"}

	// Two servers of the company's zone, of which one lags behind.
	before := "$ORIGIN example.com.\n@ 60 SOA ns1 hostmaster 1 3600 600 86400 1\n@ 60 NS ns1\n@ 60 NS ns2\n" +
		"ns1 60 A " + corpAddr1 + "\nns2 60 A " + corpAddr2 + "\n"
	startKnot(t, corpAddr1, before+cname+"\n")
	endLagging := startKnot(t, corpAddr2, before)
	said, err := command(ctx, binary, issue...)
	if err == nil || !strings.Contains(said, "_acme-challenge.example.com is not delegated") || !strings.Contains(said, corpAddr2) {
		t.Errorf("a server that lags behind is not named: %v\n%s", err, said)
	}
	endLagging()
	startKnot(t, corpAddr2, before+cname+"\n")
	t.Log(run(t, binary, issue...))
}

// startKnot starts an authoritative server of example.com on port 53 of an
// address.
func startKnot(t *testing.T, address, zone string) (end func()) {
	t.Helper()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "example.com.zone"), zone)
	conf := filepath.Join(folder, "knot.conf")
	write(t, conf, fmt.Sprintf(`server:
    rundir: %[1]q
    listen: %[2]s
database:
    storage: %[1]q
zone:
  - domain: example.com
    storage: %[1]q
    file: example.com.zone
`, folder, address))
	return startPeer(t, func() error { return soa(testContext(t), "udp", address+":53", "example.com.") }, pathOf("knotd"), "-c", conf)
}

// startPeer starts a server of the system and waits until it is ready. It ends
// with the test, or before.
func startPeer(t *testing.T, ready func() error, name string, args ...string) (end func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	t.Cleanup(end)
	eventually(t, func() error {
		select {
		case <-exited:
			t.Fatalf("%s ended:\n%s", name, said.String())
		default:
		}
		return ready()
	})
	return end
}

// startAt53 starts a server of a zone on port 53 of an address.
func startAt53(t *testing.T, folder, zone, address string, more ...string) *program.Server {
	t.Helper()
	data, err := os.MkdirTemp(folder, "data-")
	if err != nil {
		t.Fatal(err)
	}
	s, err := program.Start(testContext(t), binary, program.Options{}, append([]string{
		"--domain", zone, "--ip", address, "--data", data, "--dns-listen", address + ":53", "--api-tls", "none",
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

// startUnbound starts a resolver which knows where the two zones are.
func startUnbound(t *testing.T, folder string) {
	t.Helper()
	conf := filepath.Join(folder, "unbound.conf")
	write(t, conf, fmt.Sprintf(`server:
    directory: %q
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    interface: %s
    do-not-query-localhost: no
    do-ip6: no
    module-config: "iterator"
    use-caps-for-id: yes
    qname-minimisation: yes
    qname-minimisation-strict: yes
    harden-below-nxdomain: yes
    harden-referral-path: yes
    harden-short-bufsize: yes
    harden-large-queries: yes
    cache-max-ttl: 0
    cache-max-negative-ttl: 0
remote-control:
    control-enable: no
stub-zone:
    name: example.com
    stub-addr: %s
    stub-addr: %s
stub-zone:
    name: %s
    stub-addr: %s
`, folder, unboundAddr, corpAddr1, corpAddr2, world.Zone, authAddr))
	startPeer(t, func() error { return soa(testContext(t), "udp", unboundAddr+":53", world.Zone+".") }, pathOf("unbound"), "-d", "-c", conf)
}
