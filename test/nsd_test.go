package test

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cnamed/test/program"
	"cnamed/test/world"
)

// startNSD runs NSD until the test ends, with a zone like that of serve. What
// options, of its configuration, do not say is as it is by default.
func startNSD(t *testing.T, path, records, options string) netip.AddrPort {
	t.Helper()
	dir := t.TempDir()
	zone := fmt.Sprintf("$ORIGIN %[1]s.\n@ 3600 IN SOA %[1]s. hostmaster.%[1]s. 1 7200 3600 1209600 1\n@ 3600 NS %[1]s.\n@ 3600 A 127.0.0.1\n%[2]s\n",
		world.Zone, records)
	if err := os.WriteFile(filepath.Join(dir, "zone"), []byte(zone), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 { // somebody may take the port in between
		port, err := program.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
		conf := fmt.Sprintf(`server:
	ip-address: %[2]s@%[3]d
	username: ""
	chroot: ""
	zonesdir: %[1]q
	pidfile: ""
	database: ""
	xfrdfile: "%[1]s/xfrd.state"
	xfrdir: %[1]q
	zonelistfile: "%[1]s/zone.list"
	%[5]s
remote-control:
	control-enable: no
zone:
	name: %[4]s
	zonefile: zone
`, dir, addr.Addr(), addr.Port(), world.Zone, options)
		file := filepath.Join(dir, "nsd.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		if runNSD(t, path, file) {
			return addr
		}
	}
	t.Fatal("NSD does not start")
	return netip.AddrPort{}
}

// runNSD returns false if NSD ended before it served.
func runNSD(t *testing.T, path, file string) (serving bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "-d", "-V", "1", "-c", file)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	output, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		t.Log(lines.Text())
		if strings.Contains(lines.Text(), "nsd started") {
			t.Cleanup(func() {
				cancel()
				for lines.Scan() {
				}
				_ = cmd.Wait()
			})
			return true
		}
	}
	cancel()
	_ = cmd.Wait()
	return false
}
