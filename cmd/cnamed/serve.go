package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cnamed/config"
	"cnamed/httpapi"
	"cnamed/registry"
)

func newServe() *cobra.Command {
	var given settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the DNS server and the HTTP API",
		Long: `Serves the zone --domain by DNS, and the API through which the holder of a
credential changes the TXT values of one name in it. The zone must be delegated
to this server: NS and address records for it in its parent zone.

Every flag is also a variable, --dns-listen is CNAMED_DNS_LISTEN (a list with
commas), and a key of the file, listen in the table [dns]. A flag wins over a
variable, a variable over the file.`,
		Example: `  cnamed serve --domain auth.example.org --ip 203.0.113.5
  cnamed serve --config /etc/cnamed/cnamed.toml
  cnamed serve --domain auth.example.org --ip 127.0.0.1 --data ./data \
      --dns-listen 127.0.0.1:5353 --api-listen 127.0.0.1:8080 --api-tls none`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := given.load()
			if err := checkAll(c, err); err != nil {
				return err
			}
			return serve(cmd.Context(), c, cmd.ErrOrStderr())
		},
	}
	given.addFlags(cmd.Flags())
	return cmd
}

// serve runs the server until ctx ends, and then returns nil after it has
// finished what it was doing.
func serve(ctx context.Context, c *config.Config, stderr io.Writer) (err error) {
	log := newLog(stderr, c.Log)

	store, err := openStore(ctx, c, log)
	if err != nil {
		return err
	}
	collectAt(largeServer) // to load makes garbage, too
	reg, err := registry.Open(ctx, store, registry.Options{Log: log, Journal: journal(c)})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	collectAt(reg.Len())
	defer func() { err = errors.Join(err, reg.Close()) }()

	zones, err := openZones(ctx, c, reg)
	if err != nil {
		return err
	}
	sockets, err := openSockets(ctx, c)
	if err != nil {
		return err
	}
	defer sockets.Close()
	spareThreads()
	certificates, err := newAPICertificates(c, reg, store, log)
	if err != nil {
		return err
	}
	dns, err := newDNSServer(ctx, c, zones, store, log)
	if err != nil {
		return err
	}

	operator := newOperatorServer(c.Data, reg, log)
	defer operator.Close()

	dnsConns, apiConns := connectionBounds()
	dns.MaxConns = dnsConns
	api := &httpapi.Server{
		Handler: httpapi.New(reg, apiOptions(c, zones, log)),
		TLS:     certificates.TLSConfig(),
		Log:     log,

		MaxConns: apiConns, MaxConnsPerClient: apiConns / 4,
	}

	// DNS ends after the API: what the API still answers 200 to has to be served.
	group, ctx := errgroup.WithContext(ctx)
	answering, stopAnswering := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { adaptMemory(ctx, reg.Len); return nil })
	group.Go(func() error { return certificates.Serve(ctx) })
	group.Go(func() error {
		defer stopAnswering()
		return api.Serve(ctx, behindProxies(c, sockets.api, log)...)
	})
	group.Go(func() error { return operator.Serve(ctx) })
	group.Go(func() error { return reg.Serve(answering) })
	group.Go(func() error { return dns.Serve(answering, sockets.dns...) })

	awaitMembership(ctx, store)
	fmt.Fprintf(stderr, "cnamed: serving %s: %s\n", describeZones(zones), sockets.describe(c.API.TLS))
	notify(log, daemon.SdNotifyReady)
	context.AfterFunc(ctx, func() { notify(log, daemon.SdNotifyStopping) })
	return group.Wait()
}

// checkAll adds to the problems of the configuration those that only its users
// find, so that one start shows all of them.
func checkAll(c *config.Config, loadErr error) error {
	problems := config.AsProblems(loadErr)
	problems = append(problems, zoneProblems(c)...)
	problems = append(problems, caProblems(c)...)
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// notify tells systemd, if it is there, what the state of the service is.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("telling the service manager", "err", err)
	}
}
