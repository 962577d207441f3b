package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"cnamed/acmeclient"
	"cnamed/acmeclient/delegate"
)

// serverFlags say where the API is.
type serverFlags struct {
	server   string
	root     string
	insecure bool
}

func (f *serverFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.server, "server", "", "URL of the API: https://auth.example.org")
	cmd.Flags().StringVar(&f.root, "server-root", "", "PEM file with the roots of the API's HTTPS (default: the system's)")
	cmd.Flags().BoolVar(&f.insecure, "allow-http", false, "send credentials by plain HTTP to a server that is not this machine")
}

func newRegister() *cobra.Command {
	var flags clientFlags
	var server serverFlags
	var allowFrom []string
	cmd := &cobra.Command{
		Use:   "register --server URL DOMAIN...",
		Short: "Make credentials for a domain, and show the CNAME record to add",
		Long: `Registers each domain at the server, keeps the credentials in delegations.json
below --dir, and prints the one CNAME record that the domain's DNS needs, once.
A domain that is registered already gets the same record shown again.`,
		Example: `  cnamed register --server https://auth.example.org example.com
  cnamed register --server https://auth.example.org --allow-from 192.0.2.0/24 example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{"no domain is given", "cnamed register --server https://auth.example.org example.com"}
			}
			prefixes, err := parsePrefixes(allowFrom)
			if err != nil {
				return err
			}
			domains, err := baseDomains(args)
			if err != nil {
				return err
			}
			w, err := flags.open(cmd)
			if err != nil {
				return err
			}
			api, err := server.api(w)
			if err != nil {
				return err
			}
			all := []registered{}
			for _, domain := range domains {
				var r registered
				if r, err = w.register(cmd.Context(), api, domain, prefixes); err != nil {
					break
				}
				all = append(all, r)
			}
			// Those that are registered are shown even if a later one failed.
			return errors.Join(err, printRegistered(cmd.OutOrStdout(), all, flags.asJSON))
		},
	}
	flags.add(cmd)
	server.add(cmd)
	cmd.Flags().StringArrayVar(&allowFrom, "allow-from", nil, "CIDR from which alone updates are taken (repeatable)")
	return cmd
}

// registered is one domain and its delegation.
type registered struct {
	Domain string         `json:"domain"`
	Server string         `json:"server"`
	CNAME  delegate.CNAME `json:"cname"`
	New    bool           `json:"new"`

	record delegate.Record
}

// register returns the delegation of a domain: that of the file, or a new one,
// which is in the file before it is returned.
func (w *workspace) register(ctx context.Context, api *delegate.API, domain string, allowFrom []string) (registered, error) {
	r := registered{Domain: domain}
	record, err := w.delegations.Get(domain)
	switch {
	case err == nil:
		if record.ServerURL != "" && !api.Is(record.ServerURL) {
			return r, withHint(fmt.Errorf("%s is registered at another server, %s", domain, record.ServerURL),
				fmt.Sprintf("use --server %s, or remove the entry from %s to register anew", record.ServerURL, w.delegations.Path()))
		}
		if len(allowFrom) > 0 && strings.Join(allowFrom, " ") != strings.Join(record.AllowFrom, " ") {
			w.talk.say("warning: %s is registered already, --allow-from changes nothing", domain)
		}
	case errors.Is(err, delegate.ErrNoRecord):
		if record, err = api.Register(ctx, allowFrom); err != nil {
			return r, fmt.Errorf("registering %s: %w", domain, err)
		}
		if record, r.New, err = w.delegations.Add(domain, record); err != nil {
			return r, err
		}
		w.talk.say("registered %s at %s", domain, api)
	default:
		return r, err
	}
	r.record, r.CNAME, r.Server = record, record.CNAME(domain), api.String()
	return r, nil
}

func printRegistered(out io.Writer, all []registered, asJSON bool) error {
	if asJSON {
		return printJSON(out, all)
	}
	for i, r := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s\n\n  name:   %s\n  target: %s\n", r.CNAME, strings.TrimSuffix(r.CNAME.Name, "."), strings.TrimSuffix(r.CNAME.Target, "."))
	}
	return nil
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func parsePrefixes(values []string) ([]string, error) {
	var errs []error
	for _, v := range values {
		if _, err := netip.ParsePrefix(v); err != nil {
			hint := "give a prefix as 192.0.2.0/24 or 2001:db8::/32"
			if a, err := netip.ParseAddr(v); err == nil {
				hint = fmt.Sprintf("for the one address: %s/%d", v, a.BitLen())
			}
			errs = append(errs, withHint(fmt.Errorf("--allow-from %s is not a CIDR prefix", quote(v)), hint))
		}
	}
	return values, errors.Join(errs...)
}

// baseDomains returns the domains, each once, whose challenges the names need.
func baseDomains(names []string) ([]string, error) {
	normal, err := acmeclient.NormalizeNames(names)
	if err != nil {
		return nil, err
	}
	var domains []string
	seen := map[string]bool{}
	for _, name := range normal {
		if d := acmeclient.BaseDomain(name); !seen[d] {
			seen[d] = true
			domains = append(domains, d)
		}
	}
	return domains, nil
}
