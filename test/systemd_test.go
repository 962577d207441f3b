//go:build linux

package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cnamed/test/program"
	"cnamed/test/world"
)

// TestNotifiesTheServiceManager is sd_notify(3): READY once all is bound,
// STOPPING when it ends.
func TestNotifiesTheServiceManager(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	deadline, _ := testContext(t).Deadline()
	if err := socket.SetReadDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		message := make([]byte, 256)
		n, err := socket.Read(message)
		if err != nil || string(message[:n]) != want {
			t.Fatalf("got %q, %v, want %q", message[:n], err, want)
		}
	}

	s, err := program.Start(testContext(t), binary, program.Options{Env: []string{"NOTIFY_SOCKET=" + path}}, serveArgs(t.TempDir())...)
	if err != nil {
		t.Fatal(err)
	}
	expect("READY=1")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	expect("STOPPING=1")
}

// TestServesInheritedSockets is socket activation, sd_listen_fds(3): the
// addresses that would be bound otherwise cannot be.
func TestServesInheritedSockets(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	dnsTCP, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer dnsTCP.Close()
	dnsUDP, err := net.ListenPacket("udp", dnsTCP.Addr().String())
	if err != nil {
		t.Skipf("the port is taken for UDP: %v", err)
	}
	defer dnsUDP.Close()
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()

	var files []*os.File
	for _, s := range []interface{ File() (*os.File, error) }{dnsUDP.(*net.UDPConn), dnsTCP.(*net.TCPListener), api.(*net.TCPListener)} {
		f, err := s.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	// LISTEN_PID is that of the process that serves, which a shell replaces
	// itself by.
	script := filepath.Join(t.TempDir(), "activate")
	text := fmt.Sprintf("#!/bin/sh\nLISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=dns:dns:api exec %s \"$@\"\n", binary)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := program.Start(ctx, script, program.Options{Setup: func(c *exec.Cmd) { c.ExtraFiles = files }},
		"--domain", world.Zone, "--ip", "127.0.0.1", "--data", t.TempDir(), "--api-tls", "none",
		"--dns-listen", "192.0.2.1:53", "--api-listen", "192.0.2.1:443")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, s)
	if s.DNS[0] != dnsTCP.Addr().String() || !strings.HasSuffix(s.API[0], api.Addr().String()) {
		t.Errorf("serves at %v and %v, not at the inherited sockets", s.DNS, s.API)
	}
	a, err := registerAccount(ctx, http.DefaultClient, s.API[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := values(ctx, s.DNS[0], a.Subdomain); err != nil {
		t.Error(err)
	}
	if err := soa(ctx, "udp", s.DNS[0], world.Zone+"."); err != nil {
		t.Error(err)
	}
}
