// Package world is everything around cnamed in whole-program tests and in the
// sandbox, real and on loopback: the DNS of a company, a resolver that follows
// its delegations and CNAMEs, a CA that asks that resolver, and `cnamed serve`.
//
// The company has example.com, example.net, example.org and xn--bcher-kva.example
// and has delegated auth.example.org to the server.
package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cnamed/test/ca"
	"cnamed/test/lab"
	"cnamed/test/program"
)

// Zone is the zone that cnamed serves.
const Zone = "auth.example.org"

// zones are the company's. The last one delegates the server's.
var zones = []string{
	companyZone("example.com"),
	companyZone("example.net"),
	companyZone("xn--bcher-kva.example"),
	companyZone("example.org") + "auth NS auth\nauth A 127.0.0.1\n",
}

func companyZone(origin string) string {
	return fmt.Sprintf("$ORIGIN %s.\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\nwww A 127.0.0.1\n", origin)
}

// Options say what of the world is not as usual.
type Options struct {
	// Folder takes the binary and all data. It must exist.
	Folder string

	// Binary is that of cnamed. Empty: it is built.
	Binary string

	// CA is how the CA behaves; its resolver is that of the world.
	CA ca.Options

	// OwnCertificate makes the server obtain the certificate of its API from the
	// CA. Without it the API speaks plain HTTP.
	OwnCertificate bool

	// Serve are further arguments of `cnamed serve`, Process is about its process.
	Serve   []string
	Process program.Options
}

// World is a running world.
type World struct {
	Folder   string
	Binary   string
	Corp     *lab.Corp
	Resolver *lab.Resolver
	CA       *ca.CA
	Server   *program.Server

	// CARoot is the PEM file of the root of the CA's HTTPS.
	CARoot string

	// Data is the folder of the server, and Dir that of the client.
	Data, Dir string

	options  Options
	dns, api string // where the server listens, again after a restart
}

// Start starts a world. The caller must Close it.
func Start(ctx context.Context, o Options) (w *World, err error) {
	w = &World{
		Folder: o.Folder, Binary: o.Binary, options: o,
		Data: filepath.Join(o.Folder, "server"), Dir: filepath.Join(o.Folder, "client"),
		CARoot: filepath.Join(o.Folder, "ca-root.pem"),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if w.Binary == "" {
		if w.Binary, err = program.Build(ctx, o.Folder); err != nil {
			return w, err
		}
	}
	if w.Corp, err = lab.StartCorp(zones...); err != nil {
		return w, err
	}

	// Where the server is started again it comes back to its addresses, which the
	// kernel must not have given to a client meanwhile.
	if w.dns, err = freeAddress(); err != nil {
		return w, err
	}
	if w.api, err = freeAddress(); err != nil {
		return w, err
	}
	if o.OwnCertificate {
		// The server asks the CA at once, and the CA's resolver must know by then
		// where the server is.
		if err := w.startCA(w.dns); err != nil {
			return w, err
		}
		return w, w.StartServer(ctx)
	}
	if err := w.StartServer(ctx); err != nil {
		return w, err
	}
	return w, w.startCA(w.dns)
}

func (w *World) startCA(server string) (err error) {
	w.Resolver, err = lab.StartResolver(lab.ResolverConfig{
		Hints: map[string][]string{".": {w.Corp.Addr()}},
		Map:   map[string]string{Zone: server},
	})
	if err != nil {
		return err
	}
	return w.ReplaceCA()
}

// ReplaceCA starts another CA, with other roots, in the place of one that was
// closed.
func (w *World) ReplaceCA() (err error) {
	options := w.options.CA
	options.Resolver = w.Resolver.Addr()
	if w.CA, err = ca.Start(options); err != nil {
		return err
	}
	return os.WriteFile(w.CARoot, w.CA.RootPEM(), 0o600)
}

// StartServer starts the server, again after it has ended: where it was, with
// the data that it had.
func (w *World) StartServer(ctx context.Context) (err error) {
	args := []string{
		"--domain", Zone, "--ip", "127.0.0.1", "--data", w.Data,
		"--dns-listen", w.dns, "--api-listen", w.api,
	}
	if w.options.OwnCertificate {
		args = append(args, "--api-tls", "acme", "--acme-ca", w.CA.Directory(), "--acme-ca-root", w.CARoot)
	} else {
		args = append(args, "--api-tls", "none")
	}
	if w.Server, err = program.Start(ctx, w.Binary, w.options.Process, append(args, w.options.Serve...)...); err != nil {
		return err
	}
	w.dns = w.Server.DNS[0]
	_, w.api, _ = strings.Cut(w.Server.API[0], "://")
	return nil
}

// API returns the URL of the server's API.
func (w *World) API() string { return w.Server.API[0] }

// IssueArgs returns the arguments with which `cnamed issue`, and with the first
// four of them `cnamed register`, work in this world.
func (w *World) IssueArgs() []string {
	return []string{
		"--dir", w.Dir, "--server", w.API(),
		"--ca", w.CA.Directory(), "--ca-root", w.CARoot, "--resolver", w.Resolver.Addr(), "--agree-tos",
	}
}

// Delegate adds the CNAME record of a domain to the company's DNS.
func (w *World) Delegate(domain, target string) error {
	return w.Corp.Add(fmt.Sprintf("_acme-challenge.%s. CNAME %s.", domain, target))
}

// Close ends all that runs.
func (w *World) Close() error {
	var errs []error
	if w.Server != nil {
		errs = append(errs, w.Server.Stop())
	}
	if w.CA != nil {
		errs = append(errs, w.CA.Close())
	}
	if w.Resolver != nil {
		errs = append(errs, w.Resolver.Close())
	}
	if w.Corp != nil {
		errs = append(errs, w.Corp.Close())
	}
	return errors.Join(errs...)
}

// freeAddress returns a loopback address whose port was free a moment ago.
func freeAddress() (string, error) {
	port, err := program.FreePort()
	return fmt.Sprint("127.0.0.1:", port), err
}

// Cnamed runs the client with the given arguments and returns what it printed
// and said.
func (w *World) Cnamed(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, w.Binary, args...).CombinedOutput()
	return string(out), err
}
