//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"cnamed/test/program"
)

// target is one server under load.
type target struct {
	name  string
	names int // in its zone
	addr  netip.AddrPort
	api   string // base URL, of cnamed alone
	pid   int
	stop  func()

	profiled string // where the profiler of cnamed writes
}

// targetNames are all targets, in the order of the tables.
var targetNames = []string{"echo", "knot", "nsd", "coredns", "cnamed"}

// field is the servers of a benchmark and what they serve.
type field struct {
	settings
	folder   string
	programs map[string]string
	running  []*target
}

// newField finds or builds the programs of the wanted targets.
func newField(ctx context.Context, s settings, folder string) (*field, error) {
	f := &field{settings: s, folder: folder, programs: map[string]string{}}
	var errs []error
	for _, name := range s.targets {
		path, err := "", error(nil)
		switch name {
		case "knot", "nsd":
			path, err = findPeer(name)
		case "coredns":
			path, err = buildCoreDNS(ctx, folder)
		case "cnamed":
			path, err = buildCnamed(ctx, folder, s.profile)
		case "echo":
		default:
			err = hinted(fmt.Errorf("there is no target %q", name), "the targets are "+strings.Join(targetNames, ","))
		}
		f.programs[name] = path
		errs = append(errs, err)
	}
	return f, errors.Join(errs...)
}

// start starts the wanted targets with n names and returns these. They run
// until the field is stopped.
func (f *field) start(ctx context.Context, n int) (names []string, targets []*target, err error) {
	folder := filepath.Join(f.folder, fmt.Sprint(n))
	data := filepath.Join(folder, "data")
	if names, err = seed(ctx, data, n); err != nil {
		return nil, nil, fmt.Errorf("seeding %d names: %w", n, err)
	}
	zone := filepath.Join(folder, "zone.txt")
	if err := writeZone(zone, names); err != nil {
		return nil, nil, err
	}
	for _, name := range targetNames {
		if !slices.Contains(f.targets, name) {
			continue
		}
		t, err := f.startOne(ctx, name, folder, zone, data)
		if err != nil {
			return nil, nil, fmt.Errorf("starting %s: %w", name, err)
		}
		t.names = n
		f.running = append(f.running, t)
		targets = append(targets, t)
	}
	return names, targets, nil
}

func (f *field) startOne(ctx context.Context, name, folder, zone, data string) (*target, error) {
	switch name {
	case "knot":
		return startKnot(ctx, f.programs[name], folder, zone)
	case "nsd":
		return startNSD(ctx, f.programs[name], folder, zone)
	case "coredns":
		return startCoreDNS(ctx, f.programs[name], folder, zone)
	case "cnamed":
		t, _, err := startCnamed(ctx, f.settings, f.programs[name], data)
		return t, err
	default:
		return startEcho(ctx)
	}
}

func (f *field) stop() {
	for _, t := range f.running {
		t.stop()
	}
	f.running = nil
}

func startEcho(ctx context.Context) (*target, error) {
	cmd, line, err := startSelf(ctx, "echo-server")
	if err != nil {
		return nil, err
	}
	t := &target{name: "echo", pid: cmd.Process.Pid, stop: func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }}
	t.addr, err = netip.ParseAddrPort("127.0.0.1:" + line)
	return t, err
}

// startSelf starts this program as one of its own peers and returns the line
// that it prints when it serves.
func startSelf(ctx context.Context, args ...string) (*exec.Cmd, string, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		return nil, "", fmt.Errorf("%v: %w", args, errors.Join(err, cmd.Wait()))
	}
	return cmd, strings.TrimSpace(line), nil
}

// startCnamed starts the server with its limits on clients out of the way, as
// those of the peers are: one address is all clients here.
func startCnamed(ctx context.Context, s settings, binary, folder string) (*target, *program.Server, error) {
	t := &target{name: "cnamed", profiled: folder + ".pprof"}
	server, err := program.Start(ctx, binary, program.Options{Env: []string{profileVariable + "=" + t.profiled}}, append([]string{
		"--domain", origin, "--ip", "127.0.0.1", "--data", folder, "--log-level", "error",
		"--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--api-tls", "none",
		"--api-register-limit", "off", "--dns-reply-limit", "off"}, s.serve...)...)
	if err != nil {
		return nil, nil, err
	}
	t.addr, t.api, t.pid = netip.MustParseAddrPort(server.DNS[0]), server.API[0], server.Pid()
	t.stop = func() { _ = server.Stop() }
	return t, server, nil
}
