package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cnamed/config"
)

func newHealth() *cobra.Command {
	var server string
	var timeout time.Duration
	var given settings
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a server whether it is healthy",
		Long: `Asks the API's /health and exits 0 where the server can take updates, else 1.
Made for the health check of a container and for monitoring. Without --server it
asks the one on this machine, where the settings of cnamed serve (its file and its
variables) say that the API listens. The certificate of the API is not checked: a
container asks itself by its own loopback address.`,
		Example: "  cnamed health\n  cnamed health --server https://auth.example.org",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if server == "" {
				c, _ := given.load() // what is wrong with it is the server's business
				server = ownAPI(c)
			}
			return checkHealth(ctx, server)
		},
	}
	given.addFlags(cmd.Flags())
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = f.Name != "config" })
	cmd.Flags().StringVar(&server, "server", "", "URL of the API (default: that of the server on this machine)")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for an answer")
	return cmd
}

// ownAPI returns the URL at which a server with these settings can be reached
// from its own machine.
func ownAPI(c *config.Config) string {
	scheme := "https://"
	if c.API.TLS == config.TLSNone {
		scheme = "http://"
	}
	if len(c.API.Listen) == 0 {
		return scheme + "127.0.0.1"
	}
	address, err := netip.ParseAddrPort(c.API.Listen[0])
	if err != nil { // no host: every interface
		return scheme + "127.0.0.1" + c.API.Listen[0]
	}
	if address.Addr().IsUnspecified() {
		loopback := netip.IPv6Loopback()
		if address.Addr().Is4() {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		address = netip.AddrPortFrom(loopback, address.Port())
	}
	return scheme + address.String()
}

func checkHealth(ctx context.Context, server string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(server, "/")+"/health", nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", userAgent())
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		// No secret is sent and nothing is believed but a status.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	response, err := client.Do(request)
	var alert *net.OpError
	if errors.As(err, &alert) && alert.Op == "remote error" { // a TLS alert, RFC 8446 §6
		return withHint(errors.New("the server runs, but its API has no certificate yet"), "its log says what the CA answered")
	}
	if err != nil {
		return withHint(fmt.Errorf("the API does not answer: %w", err), "is the server running, and is --server its address?")
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return withHint(fmt.Errorf("the server is not healthy: %s", response.Status), "its log says why")
	}
	return nil
}
