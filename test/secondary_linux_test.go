package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/program"
	"cnamed/test/world"
)

const (
	xfrKey    = "xfr.example.org"
	xfrSecret = "bm90IGEgc2VjcmV0LCBidXQgb2YgdGhlIGxlbmd0aC4="
)

// secondaryKind is a name server that can be a secondary. Its configuration is
// the one of the README but for the places of files, addresses and ports: the
// arguments are a folder, its own port and that of cnamed.
type secondaryKind struct {
	name, program string
	args          []string // after which the path of the configuration comes
	config        string
}

var secondaryKinds = []secondaryKind{
	{"Knot", "knotd", []string{"-c"}, `
server:
    rundir: %[1]q
    listen: 127.0.0.1@%[2]s
database:
    storage: %[1]q
key:
  - id: xfr.example.org
    algorithm: hmac-sha256
    secret: ` + xfrSecret + `
remote:
  - id: cnamed
    address: 127.0.0.1@%[3]s
    key: xfr.example.org
acl:
  - id: cnamed
    address: 127.0.0.1
    key: xfr.example.org
    action: notify
zone:
  - domain: auth.example.org
    storage: %[1]q
    master: cnamed
    acl: cnamed
    zonefile-sync: 60
`},
	{"NSD", "nsd", []string{"-d", "-c"}, `
server:
    ip-address: 127.0.0.1@%[2]s
    username: ""
    chroot: ""
    database: ""
    zonesdir: %[1]q
    xfrdir: %[1]q
    pidfile: ""
    xfrdfile: "%[1]s/xfrd.state"
    zonelistfile: "%[1]s/zone.list"
    xfrd-reload-timeout: 0
remote-control:
    control-enable: no
key:
    name: xfr.example.org
    algorithm: hmac-sha256
    secret: "` + xfrSecret + `"
zone:
    name: auth.example.org
    zonefile: auth.example.org.zone
    allow-notify: 127.0.0.1 xfr.example.org
    request-xfr: 127.0.0.1@%[3]s xfr.example.org
`},
	{"BIND", "named", []string{"-g", "-c"}, `
options {
    directory %[1]q;
    listen-on port %[2]s { 127.0.0.1; };
    listen-on-v6 { none; };
    pid-file none;
    session-keyfile none;
    recursion no;
    dnssec-validation no;
    notify no;
};
controls { };
key "xfr.example.org" { algorithm hmac-sha256; secret "` + xfrSecret + `"; };
zone "auth.example.org" {
    type secondary;
    primaries { 127.0.0.1 port %[3]s key xfr.example.org; };
    file "auth.example.org.zone";
};
`},
}

// TestSecondaries has the zone served by others: they get all of it, each change
// within a second, and what they missed while they, or cnamed, were away.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	for _, kind := range secondaryKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			required(t, pathOf(kind.program) != "", kind.program+" is not installed")
			kind.test(t)
		})
	}
}

func (k *secondaryKind) test(t *testing.T) {
	folder := t.TempDir()
	keys := filepath.Join(folder, "xfr.key")
	write(t, keys, fmt.Sprintf("key %q {\n\talgorithm hmac-sha256;\n\tsecret %q;\n};\n", xfrKey, xfrSecret))
	free, err := program.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprint(free)
	data := t.TempDir()
	more := []string{
		"--dns-key-files", keys, "--dns-transfer-to", "127.0.0.1 key " + xfrKey,
		"--dns-notify", "127.0.0.1:" + own + " key " + xfrKey, "--dns-records", "www A 192.0.2.80", "--log-level", "debug",
	}
	s := serve(t, data, more...)
	w := &secondaryWorld{t: t, server: s, own: "127.0.0.1:" + own}
	w.register(20)
	_, port, _ := net.SplitHostPort(s.DNS[0])

	conf := filepath.Join(folder, "secondary.conf")
	write(t, conf, fmt.Sprintf(k.config, folder, own, port))
	end := startSecondary(t, pathOf(k.program), append(slices.Clone(k.args), conf)...)
	w.wantSame()
	w.wantLog("style=whole")

	var delays []time.Duration
	for i := range 20 {
		delays = append(delays, w.delay(i))
	}
	slices.Sort(delays)
	t.Logf("%s serves an update after %v (median), %v (longest of %d)", k.name, delays[len(delays)/2], delays[len(delays)-1], len(delays))
	// Each update comes on the heels of the one before. Knot puts some of these off to a second after its last refresh:
	// its events have times of whole seconds.
	if delays[len(delays)/2] > time.Second || delays[len(delays)-1] > 3*time.Second {
		t.Errorf("updates took %v to reach the secondary", delays)
	}
	w.wantLog("style=changes")
	var crowd sync.WaitGroup
	for i := range w.accounts {
		crowd.Go(func() {
			for n := range 10 {
				w.update(i, 1000+n)
			}
		})
	}
	crowd.Wait()
	w.wantSame()

	end()
	w.update(0, 2000)
	end = startSecondary(t, pathOf(k.program), append(slices.Clone(k.args), conf)...)
	w.wantSame()

	// What the journal does not have any more: a restart empties it.
	end()
	w.update(1, 3000)
	stop(t, s)
	if err := s.Stop(); err != nil && !errors.Is(err, context.Canceled) {
		t.Log(err)
	}
	w.server = serve(t, data, append(more, "--dns-listen", "127.0.0.1:"+port)...)
	w.update(2, 3001)
	startSecondary(t, pathOf(k.program), append(slices.Clone(k.args), conf)...)
	w.wantSame()
	w.wantLog("style=whole")
}

// secondaryWorld is a cnamed and its secondary.
type secondaryWorld struct {
	t        *testing.T
	server   *program.Server
	own      string // where the secondary answers
	accounts []account
}

func (w *secondaryWorld) register(n int) {
	w.t.Helper()
	for i := range n {
		a, err := registerAccount(testContext(w.t), http.DefaultClient, w.server.API[0])
		if err != nil {
			w.t.Fatal(err)
		}
		w.accounts = append(w.accounts, a)
		w.update(i, i)
	}
}

func (w *secondaryWorld) update(i, n int) {
	w.t.Helper()
	r, err := update(testContext(w.t), http.DefaultClient, w.server.API[0], w.accounts[i], value(n))
	if err == nil {
		err = r.error(http.StatusOK)
	}
	if err != nil {
		w.t.Error(err)
	}
}

// delay is the time from the answer to an update until the secondary serves it.
func (w *secondaryWorld) delay(i int) time.Duration {
	w.t.Helper()
	w.update(i, 500+i)
	begin := time.Now()
	eventually(w.t, func() error {
		got, err := values(testContext(w.t), w.own, w.accounts[i].Subdomain)
		if err == nil && !slices.Contains(got, value(500+i)) {
			err = fmt.Errorf("the secondary has %q", got)
		}
		return err
	})
	return time.Since(begin)
}

// wantSame waits until the secondary has the serial of cnamed, and compares what
// both serve.
func (w *secondaryWorld) wantSame() {
	w.t.Helper()
	ctx := testContext(w.t)
	serial := func(server string) (uint32, error) {
		r, err := exchange(ctx, &dns.Client{Timeout: time.Second}, new(dns.Msg).SetQuestion(world.Zone+".", dns.TypeSOA), server)
		if err != nil || len(r.Answer) != 1 {
			return 0, fmt.Errorf("SOA of %s: %v, %w", server, r, err)
		}
		return r.Answer[0].(*dns.SOA).Serial, nil
	}
	eventually(w.t, func() error {
		theirs, err := serial(w.own)
		if err != nil {
			return err
		}
		if ours, err := serial(w.server.DNS[0]); err != nil || ours != theirs {
			return fmt.Errorf("serial %d, the secondary has %d; %w", ours, theirs, err)
		}
		return nil
	})
	for _, a := range w.accounts {
		ours, err := values(testContext(w.t), w.server.DNS[0], a.Subdomain)
		theirs, terr := values(testContext(w.t), w.own, a.Subdomain)
		slices.Sort(ours)
		slices.Sort(theirs)
		if err != nil || terr != nil || !slices.Equal(ours, theirs) {
			w.t.Errorf("%s: %q, the secondary has %q; %v, %v", a.Subdomain, ours, theirs, err, terr)
		}
	}
}

func (w *secondaryWorld) wantLog(text string) {
	w.t.Helper()
	if !strings.Contains(w.server.Log(), text) {
		w.t.Errorf("the server never says %q", text)
	}
}

// startSecondary starts a name server, which ends with the test or before.
func startSecondary(t *testing.T, name string, args ...string) (end func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // those that fork end their children
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, said.String())
		}
	})
	t.Cleanup(end)
	return end
}

// TestCheckersAcceptTheTransferredZone has the tools of others read it.
func TestCheckersAcceptTheTransferredZone(t *testing.T) {
	t.Parallel()
	required(t, pathOf("named-checkzone") != "" && pathOf("kzonecheck") != "", "named-checkzone or kzonecheck is not installed")
	s := serve(t, t.TempDir(), "--dns-transfer-to", "127.0.0.1", "--dns-records", "www A 192.0.2.80",
		"--dns-records", "sub NS ns.sub", "--dns-records", "ns.sub A 192.0.2.81")
	w := &secondaryWorld{t: t, server: s}
	w.register(20)
	transferred, err := (&dns.Transfer{}).In(new(dns.Msg).SetAxfr(world.Zone+"."), s.DNS[0])
	if err != nil {
		t.Fatal(err)
	}
	var zone []string
	for e := range transferred {
		if e.Error != nil {
			t.Fatal(e.Error)
		}
		for _, rr := range e.RR {
			zone = append(zone, rr.String())
		}
	}
	file := filepath.Join(t.TempDir(), "zone")
	write(t, file, strings.Join(zone[:len(zone)-1], "\n")+"\n") // without the second SOA
	for _, check := range [][]string{{"named-checkzone", "-i", "local", world.Zone, file}, {"kzonecheck", "-o", world.Zone, file}} {
		out, err := exec.Command(pathOf(check[0]), check[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", check[0], err, out)
		}
		t.Logf("%s: %s", check[0], out)
	}
}
