//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/program"
)

// target is one server under load.
type target struct {
	name string
	addr netip.AddrPort
	pid  int
	stop func()
}

func startEcho(ctx context.Context) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "echo-server")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t := &target{name: "echo", pid: cmd.Process.Pid, stop: func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.stop()
		return nil, fmt.Errorf("echo server: %w", err)
	}
	t.addr, err = netip.ParseAddrPort("127.0.0.1:" + strings.TrimSpace(line))
	return t, err
}

func startCnamed(ctx context.Context, binary, folder string) (*target, *program.Server, error) {
	server, err := program.Start(ctx, binary, program.Options{},
		"--domain", origin, "--ip", "127.0.0.1", "--data", folder, "--log-level", "error",
		"--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--api-tls", "none",
		"--api-register-limit", "off") // one address registers all
	if err != nil {
		return nil, nil, err
	}
	t := &target{name: "cnamed", addr: netip.MustParseAddrPort(server.DNS[0]), pid: server.Pid(), stop: func() { _ = server.Stop() }}
	return t, server, nil
}

// startKnot and startNSD return nil where the program is not installed.
func startKnot(ctx context.Context, folder, zone string) (*target, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`server:
    rundir: %[1]q
    listen: 127.0.0.1@%[2]d
    udp-workers: 2
    tcp-workers: 1
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
`, folder, port, origin, zone)
	return startPeer(ctx, "knot", "knotd", folder, port, conf, "-c")
}

func startNSD(ctx context.Context, folder, zone string) (*target, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`server:
    ip-address: 127.0.0.1@%[2]d
    server-count: 2
    reuseport: yes
    username: ""
    zonesdir: %[1]q
    pidfile: "%[1]s/nsd.pid"
    database: ""
    xfrdfile: "%[1]s/xfrd.state"
    xfrdir: %[1]q
    zonelistfile: "%[1]s/zone.list"
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: %[3]s
    zonefile: %[4]q
`, folder, port, origin, zone)
	return startPeer(ctx, "nsd", "nsd", folder, port, conf, "-d", "-c")
}

// startPeer starts a name server from the system and waits until it answers.
func startPeer(ctx context.Context, name, program, folder string, port int, conf string, args ...string) (*target, error) {
	path, err := lookPath(program)
	if err != nil {
		return nil, nil
	}
	file := filepath.Join(folder, name+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	var said strings.Builder
	cmd := exec.Command(path, append(args, file)...)
	cmd.Stdout, cmd.Stderr = &said, &said
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
			return nil, fmt.Errorf("%s ended: %w\n%s", name, err, said.String())
		case <-ctx.Done():
			t.stop()
			return nil, fmt.Errorf("%s does not answer: %w", name, ctx.Err())
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

func lookPath(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	path := filepath.Join("/usr/sbin", program)
	_, err := os.Stat(path)
	return path, err
}

// freePort returns a port that was free for UDP a moment ago: these peers cannot
// be told to choose one.
func freePort() (int, error) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer socket.Close()
	return socket.LocalAddr().(*net.UDPAddr).Port, nil
}
