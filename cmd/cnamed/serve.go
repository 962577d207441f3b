package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cnamed/config"
	"cnamed/dnsserver"
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
	saveMemory(true) // to load also makes garbage
	reg, err := registry.Open(ctx, store, registry.Options{Log: log})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	saveMemory(reg.Len() >= largeIndex)
	defer func() { err = errors.Join(err, reg.Close()) }()

	zone, err := dnsserver.NewZone(zoneConfig(c), reg)
	if err != nil {
		return err
	}
	if _, err := reg.SetRecords(ctx, map[string]string{zone.Origin(): fingerprint(zoneConfig(c))}); err != nil {
		return err
	}
	sockets, err := openSockets(ctx, c)
	if err != nil {
		return err
	}
	defer sockets.Close()
	certificates, err := newAPICertificates(c, reg, store, log)
	if err != nil {
		return err
	}

	zones := dnsserver.NewZoneSet(zone)
	dns, err := newDNSServer(c, zones, log)
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
	group.Go(func() error { return certificates.Serve(ctx) })
	group.Go(func() error {
		defer stopAnswering()
		return api.Serve(ctx, behindProxies(c, sockets.api, log)...)
	})
	group.Go(func() error { return operator.Serve(ctx) })
	group.Go(func() error { return reg.Serve(answering) })
	group.Go(func() error { return dns.Serve(answering, sockets.dns...) })

	awaitMembership(ctx, store)
	fmt.Fprintf(stderr, "cnamed: serving %s: %s\n", c.Domain, sockets.describe(c.API.TLS))
	notify(log, daemon.SdNotifyReady)
	context.AfterFunc(ctx, func() { notify(log, daemon.SdNotifyStopping) })
	return group.Wait()
}

// checkAll adds to the problems of the configuration those that only its users
// find, so that one start shows all of them.
func checkAll(c *config.Config, loadErr error) error {
	problems := config.AsProblems(loadErr)
	if c.Domain != "" {
		problems = append(problems, zoneProblems(c)...)
	}
	problems = append(problems, caProblems(c)...)
	if len(problems) > 0 {
		return problems
	}
	return nil
}

func zoneConfig(c *config.Config) dnsserver.ZoneConfig {
	return dnsserver.ZoneConfig{
		Origin:      c.Domain,
		NameServers: c.DNS.NameServers,
		Admin:       c.DNS.Admin,
		Addrs:       c.IPs,
		Records:     c.DNS.Records,
		TTL:         c.DNS.TTL,
		NegativeTTL: c.DNS.NegativeTTL,
	}
}

// fingerprint differs when the records of two zones do.
func fingerprint(c dnsserver.ZoneConfig) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", c))
	return hex.EncodeToString(sum[:])
}

// zoneProblems finds what the zone has against the configuration.
func zoneProblems(c *config.Config) config.Problems {
	_, err := dnsserver.NewZone(zoneConfig(c), noNames{})
	if err == nil {
		return nil
	}
	errs := parts(err)
	if errs == nil {
		errs = []error{err}
	}
	keys := map[string]string{
		"origin": "domain", "name-servers": "dns.name-servers", "admin": "dns.admin", "addrs": "ip",
		"records": "dns.records", "ttl": "dns.ttl", "negative-ttl": "dns.negative-ttl",
	}
	var problems config.Problems
	for _, e := range errs {
		var field *dnsserver.ConfigError
		if errors.As(e, &field) {
			problems = append(problems, c.Problem(keys[field.Field], max(field.Index, 0),
				&config.ValueError{Msg: fmt.Sprintf("%q: %s", field.Value, field.Fault), Remedy: field.Remedy}))
		} else {
			problems = append(problems, &config.Problem{Err: e})
		}
	}
	return problems
}

// noNames is a registry in which nobody is registered.
type noNames struct{}

func (noNames) AppendTXT(dst, _ []byte) ([]byte, bool, error) { return dst, false, nil }
func (noNames) Serial() uint32                                { return 0 }

// notify tells systemd, if it is there, what the state of the service is.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("telling the service manager", "err", err)
	}
}
