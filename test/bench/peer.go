//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/program"
)

// peerPrograms are the peers that the system has to have, by Debian's packages.
var peerPrograms = map[string]struct{ program, debian string }{
	"knot": {"knotd", "knot"},
	"nsd":  {"nsd", "nsd"},
}

func findPeer(name string) (string, error) {
	p := peerPrograms[name]
	path, err := exec.LookPath(p.program)
	if err != nil {
		path = filepath.Join("/usr/sbin", p.program) // not in the path of users
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", hinted(fmt.Errorf("%s is not installed", p.program),
			"apt-get install "+p.debian+", or leave it out: -targets "+without(targetNames, name))
	}
	return path, nil
}

// buildCoreDNS compiles the peer that is a Go module of its own.
func buildCoreDNS(ctx context.Context, folder string) (string, error) {
	root, err := program.Source(ctx)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(folder, "coredns")
	out, err := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(root, "test/bench/coredns"), "-o", binary, ".").CombinedOutput()
	if err != nil {
		return "", hinted(fmt.Errorf("building CoreDNS: %w\n%s", err, out),
			"its modules have to be downloaded once; or leave it out: -targets "+without(targetNames, "coredns"))
	}
	return binary, nil
}

// startKnot starts Knot with its defaults for speed, said out loud: a worker and
// a socket with SO_REUSEPORT for each core. socket-affinity, which binds
// sockets to cores, is for network cards with a queue for each. The module
// for rate limiting is not loaded.
func startKnot(ctx context.Context, binary, folder, zone string) (*target, error) {
	port, err := program.FreePort()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`server:
    rundir: %[1]q
    listen: 127.0.0.1@%[2]d
    udp-workers: %[5]d
    tcp-workers: 1
    background-workers: 1
database:
    storage: %[1]q
log:
  - target: stderr
    any: error
template:
  - id: default
    storage: %[1]q
    semantic-checks: off
    zonefile-load: whole
    journal-content: none
zone:
  - domain: %[3]s
    file: %[4]q
`, folder, port, origin, zone, runtime.NumCPU())
	return startPeer(ctx, "knot", binary, folder, port, conf, "-c")
}

// startNSD starts NSD as its manual advises for speed: a server process for
// each core, with a socket of its own by reuseport, and small answers. Its rate
// limit is off for every source (rrl-whitelist-ratelimit as well, without which
// it still counts). cpu-affinity is for machines where NSD has cores to itself.
// Debian builds it without recvmmsg.
func startNSD(ctx context.Context, binary, folder, zone string) (*target, error) {
	port, err := program.FreePort()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`server:
    ip-address: 127.0.0.1@%[2]d
    server-count: %[5]d
    reuseport: yes
    minimal-responses: yes
    username: ""
    zonesdir: %[1]q
    pidfile: "%[1]s/nsd.pid"
    database: ""
    xfrdfile: "%[1]s/xfrd.state"
    xfrdir: %[1]q
    zonelistfile: "%[1]s/zone.list"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: %[3]s
    zonefile: %[4]q
`, folder, port, origin, zone, runtime.NumCPU())
	return startPeer(ctx, "nsd", binary, folder, port, conf, "-d", "-c")
}

// startCoreDNS starts CoreDNS with its file plugin, and with multisocket, which
// its manual advises for speed: a socket with SO_REUSEPORT for each core. It has
// no rate limit and, without the plugin log, writes no line for a query.
func startCoreDNS(ctx context.Context, binary, folder, zone string) (*target, error) {
	port, err := program.FreePort()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("%s:%d {\n\tbind 127.0.0.1\n\tmultisocket %d\n\tfile %q {\n\t\treload 0\n\t}\n}\n", origin, port, runtime.NumCPU(), zone)
	return startPeer(ctx, "coredns", binary, folder, port, conf, "-conf")
}

// startPeer starts a name server and waits until it answers.
func startPeer(ctx context.Context, name, binary, folder string, port int, conf string, args ...string) (*target, error) {
	file := filepath.Join(folder, name+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	talk, err := os.Create(filepath.Join(folder, name+".log"))
	if err != nil {
		return nil, err
	}
	defer talk.Close()
	cmd := exec.Command(binary, append(args, file)...)
	cmd.Stdout, cmd.Stderr = talk, talk
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t := &target{
		name: name, pid: cmd.Process.Pid, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)),
		stop: func() { _ = cmd.Process.Signal(os.Interrupt); <-exited },
	}
	for {
		if answers(ctx, t.addr) {
			return t, nil
		}
		select {
		case err := <-exited:
			said, readErr := os.ReadFile(talk.Name())
			return nil, errors.Join(fmt.Errorf("it ended: %w\n%s", err, said), readErr)
		case <-ctx.Done():
			t.stop()
			return nil, fmt.Errorf("it does not answer: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers tells whether a server has the zone.
func answers(ctx context.Context, addr netip.AddrPort) bool {
	m := new(dns.Msg).SetQuestion(origin+".", dns.TypeSOA)
	client := &dns.Client{Timeout: 200 * time.Millisecond}
	r, _, err := client.ExchangeContext(ctx, m, addr.String())
	return err == nil && r.Rcode == dns.RcodeSuccess && len(r.Answer) == 1
}
