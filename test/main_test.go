// Package test holds the tests of the whole program: the real binary, real
// sockets, a real database file, a real CA.
package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/program"
	"cnamed/test/world"
)

// binary is cnamed, built once for all tests of the package.
var binary string

func TestMain(m *testing.M) {
	if binary = os.Getenv(insideVariable); binary != "" {
		os.Exit(m.Run())
	}
	folder, err := os.MkdirTemp("", "cnamed-test-")
	if err == nil {
		binary, err = program.Build(context.Background(), folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// insideVariable names the binary for tests that run again in a child, in
// namespaces of their own.
const insideVariable = "CNAMED_TEST_INSIDE"

// patience bounds every wait for something that is observed.
const patience = 60 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually observes until ok returns nil. It fails the test with the last
// observation when that takes too long.
func eventually(t *testing.T, ok func() error) {
	t.Helper()
	ctx := testContext(t)
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still: %v", err)
		case <-ticks.C:
		}
	}
}

// serve starts a server with plain HTTP on free ports, and ends it with the test.
func serve(t *testing.T, data string, more ...string) *program.Server {
	t.Helper()
	s, err := program.Start(testContext(t), binary, program.Options{}, serveArgs(data, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func serveArgs(data string, more ...string) []string {
	return append([]string{
		"--domain", world.Zone, "--ip", "127.0.0.1", "--data", data,
		"--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--api-tls", "none",
	}, more...)
}

// stop ends a server that may have ended before.
func stop(t *testing.T, s *program.Server) {
	select {
	case <-s.Exited():
		return
	default:
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if log := s.Log(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
		t.Errorf("the server said:\n%s", log)
	}
}

// start starts a world, and ends it with the test.
func start(t *testing.T, o world.Options) *world.World {
	t.Helper()
	o.Folder, o.Binary = t.TempDir(), binary
	w, err := world.Start(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// values asks a server for the TXT values of a label of the zone.
func values(ctx context.Context, server, label string) ([]string, error) {
	m := new(dns.Msg).SetQuestion(label+"."+world.Zone+".", dns.TypeTXT).SetEdns0(1232, false)
	r, err := exchange(ctx, &dns.Client{Net: "tcp", Timeout: 10 * time.Second}, m, server)
	if err != nil {
		return nil, err
	}
	if r.Rcode != dns.RcodeSuccess {
		return nil, fmt.Errorf("%s: %s", label, dns.RcodeToString[r.Rcode])
	}
	var all []string
	for _, rr := range r.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			all = append(all, strings.Join(txt.Txt, ""))
		}
	}
	return all, nil
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

// soa returns an error unless a server, or a resolver, answers for a zone.
func soa(ctx context.Context, network, server, zone string) error {
	r, err := exchange(ctx, &dns.Client{Net: network, Timeout: time.Second}, new(dns.Msg).SetQuestion(zone, dns.TypeSOA), server)
	if err == nil && (r.Rcode != dns.RcodeSuccess || len(r.Answer) != 1) {
		err = fmt.Errorf("answer to SOA:\n%v", r)
	}
	return err
}
