// Package clients tests cnamed with the clients of acme-dns that people have:
// the real programs and libraries, unmodified. Each obtains a certificate for
// example.com and *.example.com from a real CA through a real `cnamed serve`.
//
// It is a module of its own, so that what they need is not what cnamed needs.
package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cnamed/test/program"
	"cnamed/test/world"
)

// binary is cnamed, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "cnamed-clients-")
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

// domain is what every client orders, with its wildcard.
const domain = "example.com"

// patience bounds what one client does in one test.
const patience = 2 * time.Minute

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// start starts a world, and ends it with the test.
func start(t *testing.T) *world.World {
	t.Helper()
	w, err := world.Start(testContext(t), world.Options{Folder: t.TempDir(), Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server said:\n%s", w.Server.Log())
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// delegate adds the CNAME record, as the owner of the domain does.
func delegate(t *testing.T, w *world.World, target string) {
	t.Helper()
	if err := w.Delegate(domain, strings.TrimSuffix(target, ".")); err != nil {
		t.Fatal(err)
	}
}

// register has `cnamed register` write the file of credentials, adds the CNAME
// record that it names, and returns the file's path.
func register(t *testing.T, w *world.World) string {
	t.Helper()
	out, err := w.Cnamed(testContext(t), append(append([]string{"register"}, w.IssueArgs()[:4]...), domain)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, target, found := strings.Cut(out, "CNAME ")
	if !found {
		t.Fatalf("cnamed register names no CNAME record:\n%s", out)
	}
	delegate(t, w, strings.Fields(target)[0])
	return filepath.Join(w.Dir, "delegations.json")
}

// run runs a client in the environment of a world, and returns all it said.
func run(t *testing.T, w *world.World, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(testContext(t), name, args...)
	cmd.Env = w.Environment(env...)
	cmd.Dir = w.Folder
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// check fails the test unless a client has the certificate for both names.
func check(t *testing.T, w *world.World, fullchain string) {
	t.Helper()
	leaf, err := w.Check(fullchain, domain, "any."+domain)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("certificate for %v", leaf.DNSNames)
}

// installed returns the path of a program that the tests do not build.
func installed(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	required(t, err == nil, name+" is not installed")
	return path
}

// required skips a test of what this machine lacks; in CI it fails it.
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
