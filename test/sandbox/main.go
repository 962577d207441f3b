// Command sandbox shows the main job on one machine with nothing but Go: a
// wildcard certificate for example.com, whose DNS cnamed has no credentials for.
//
//	go run ./test/sandbox           shows it, and leaves nothing behind
//	go run ./test/sandbox --keep    leaves it running, to explore
//
// All of it is real, on loopback and free ports: the DNS of a company, a
// resolver, Pebble as the CA, `cnamed serve` and `cnamed issue`.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cnamed/test/program"
	"cnamed/test/world"
)

func main() {
	keep := flag.Bool("keep", false, "leave everything running until Ctrl-C, to explore")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox: error:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, keep bool) (err error) {
	folder, err := os.MkdirTemp("", "cnamed-sandbox-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()

	step("building cnamed")
	binary, err := program.Build(ctx, folder)
	if err != nil {
		return err
	}
	began := time.Now()

	step("starting the company's DNS, a resolver, the CA and cnamed serve")
	w, err := world.Start(ctx, world.Options{
		Folder: folder, Binary: binary,
		// Ctrl-C in a terminal reaches the whole group; the sandbox ends the server
		// itself, after its last use.
		Process: program.Options{Mirror: prefixed("serve"), Setup: ownGroup},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	say("company's DNS    %s   example.com, example.org; delegates %s", w.Corp.Addr(), world.Zone)
	say("cnamed serve     %s   the authoritative server of %s", w.Server.DNS[0], world.Zone)
	say("its HTTP API     %s", w.API())
	say("its database     %s", filepath.Join(w.Data, "cnamed.db"))
	say("resolver         %s   follows delegations and CNAMEs, as a CA's does", w.Resolver.Addr())
	say("CA (Pebble)      %s", w.CA.Directory())

	step("registering example.com: the one record that its owner has to add")
	cname, err := register(ctx, w)
	if err != nil {
		return err
	}

	step("the company's administrator adds it to the zone example.com, once")
	if err := w.Delegate("example.com", strings.TrimSuffix(cname, ".")); err != nil {
		return err
	}
	say("_acme-challenge.example.com. CNAME %s", cname)

	step("issuing a certificate for example.com and *.example.com")
	if err := cnamed(ctx, w, os.Stdout, append([]string{"issue"}, append(w.IssueArgs(), "-d", "example.com", "-d", "*.example.com")...)...); err != nil {
		return err
	}

	step("checking the certificate against the CA's root")
	names := []string{"example.com", "www.example.com"}
	certificate, err := w.Check(filepath.Join(w.Dir, "live", "example.com", "fullchain.pem"), names...)
	if err != nil {
		return err
	}
	say("valid for %s, until %s", strings.Join(names, " and "), certificate.NotAfter.Format(time.RFC3339))
	say("done in %v after compilation", time.Since(began).Round(time.Millisecond))
	if !keep {
		say("everything was under %s and is removed now; --keep leaves it running", folder)
		return nil
	}
	explore(w)
	go addRecords(os.Stdin, w)
	<-ctx.Done()
	say("ending")
	return nil
}

// register runs `cnamed register` and returns the target of the CNAME record.
func register(ctx context.Context, w *world.World) (string, error) {
	args := append([]string{"register"}, w.IssueArgs()[:4]...)
	if err := cnamed(ctx, w, os.Stdout, append(args, "example.com")...); err != nil {
		return "", err
	}
	var out strings.Builder
	if err := cnamed(ctx, w, &out, append(args, "--json", "example.com")...); err != nil {
		return "", err
	}
	var reply []struct{ CNAME struct{ Target string } }
	if err := json.Unmarshal([]byte(out.String()), &reply); err != nil || len(reply) != 1 {
		return "", fmt.Errorf("reading the reply of cnamed register: %w", err)
	}
	return reply[0].CNAME.Target, nil
}

// cnamed runs the real client, and shows what it says.
func cnamed(ctx context.Context, w *world.World, stdout interface{ Write([]byte) (int, error) }, args ...string) error {
	cmd := exec.CommandContext(ctx, w.Binary, args...)
	cmd.Stdout, cmd.Stderr = stdout, os.Stdout
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cnamed %s: %w", args[0], err)
	}
	return nil
}

// explore says what can be done with a sandbox that stays.
func explore(w *world.World) {
	host, port, _ := strings.Cut(w.Server.DNS[0], ":")
	resolver, resolverPort, _ := strings.Cut(w.Resolver.Addr(), ":")
	fmt.Printf(`
everything stays until Ctrl-C. A record typed here, as in a zone file, is added to the
company's DNS: _acme-challenge.example.net. CNAME 8e57….auth.example.org.

  certificate  %s
  database     %s
  CA's root    %s

  dig @%s -p %s %s SOA
  dig @%s -p %s _acme-challenge.example.com TXT
  curl -s -X POST %s/register
  %s list --dir %s
  %s renew --force --dir %s
`,
		filepath.Join(w.Dir, "live", "example.com"), filepath.Join(w.Data, "cnamed.db"), w.CARoot,
		host, port, world.Zone, resolver, resolverPort, w.API(), w.Binary, w.Dir, w.Binary, w.Dir)
}

// addRecords adds each line that is typed to the company's DNS.
func addRecords(in io.Reader, w *world.World) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if err := w.Corp.Add(lines.Text()); err != nil {
			say("not added: %v", err)
		} else {
			say("added")
		}
	}
}

var steps int

func step(text string) {
	steps++
	fmt.Printf("\n%d. %s\n", steps, text)
}

func say(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }
