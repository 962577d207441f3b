package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cnamed/acmeclient"
	"cnamed/acmeclient/delegate"
)

func newList() *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show certificates and delegations",
		Long: `Shows each certificate with its names, its expiry and the delegation of each of
its domains, and the domains that are registered but in no certificate yet.
Asks nobody, and changes nothing.`,
		Example: "  cnamed list\n  cnamed list --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := flags.openIfThere(cmd)
			if err != nil || w == nil {
				return err
			}
			inventory, err := w.inventory()
			if err != nil {
				return err
			}
			if flags.asJSON {
				return errors.Join(printJSON(cmd.OutOrStdout(), inventory), inventory.broken())
			}
			inventory.print(cmd.OutOrStdout())
			return inventory.broken()
		},
	}
	flags.add(cmd)
	return cmd
}

// inventory is all that the folder holds.
type inventory struct {
	Certificates []listed     `json:"certificates"`
	Unused       []delegation `json:"unused_delegations"`
}

// listed is one certificate. One that cannot be read has an error instead.
type listed struct {
	Name        string       `json:"name"`
	Names       []string     `json:"names,omitempty"`
	NotAfter    time.Time    `json:"not_after,omitzero"`
	Renewal     time.Time    `json:"renewal,omitzero"`
	Folder      string       `json:"folder"`
	Delegations []delegation `json:"delegations,omitempty"`
	Error       string       `json:"error,omitempty"`

	err error
}

// delegation is a domain, and where its CNAME record points.
type delegation struct {
	Domain string          `json:"domain"`
	Server string          `json:"server,omitempty"`
	CNAME  *delegate.CNAME `json:"cname,omitempty"` // nil: not registered
	Error  string          `json:"error,omitempty"`

	err error
}

func (w *workspace) inventory() (inventory, error) {
	inv := inventory{Certificates: []listed{}, Unused: []delegation{}}
	names, err := w.certificates.List()
	if err != nil {
		return inv, err
	}
	used := map[string]bool{}
	for _, name := range names {
		l := w.listed(name)
		for _, d := range l.Delegations {
			used[d.Domain] = true
		}
		inv.Certificates = append(inv.Certificates, l)
	}
	domains, err := w.delegations.Domains()
	if err != nil {
		return inv, err
	}
	for _, domain := range domains {
		if !used[domain] {
			inv.Unused = append(inv.Unused, w.delegation(domain))
		}
	}
	return inv, nil
}

func (w *workspace) listed(name string) listed {
	l := listed{Name: name, Folder: filepath.Dir(w.certificates.Paths(name).Cert)}
	c, err := w.load(name)
	if err != nil {
		l.err, l.Error = fmt.Errorf("certificate %s: %w", name, err), err.Error()
		return l
	}
	l.Names, l.NotAfter, l.Renewal = c.leaf.DNSNames, c.leaf.NotAfter, acmeclient.RenewalTime(c.leaf)
	for _, n := range c.leaf.DNSNames {
		domain := acmeclient.BaseDomain(n)
		if slices.ContainsFunc(l.Delegations, func(d delegation) bool { return d.Domain == domain }) {
			continue
		}
		l.Delegations = append(l.Delegations, w.delegation(domain))
	}
	return l
}

func (w *workspace) delegation(domain string) delegation {
	d := delegation{Domain: domain}
	record, err := w.delegations.Get(domain)
	switch {
	case errors.Is(err, delegate.ErrNoRecord):
	case err != nil:
		d.err, d.Error = err, err.Error()
	default:
		cname := record.CNAME(domain)
		d.CNAME, d.Server = &cname, record.ServerURL
	}
	return d
}

// broken returns the errors of all that could not be read.
func (inv inventory) broken() error {
	var errs []error
	for _, l := range inv.Certificates {
		errs = append(errs, l.err)
		for _, d := range l.Delegations {
			errs = append(errs, d.err)
		}
	}
	for _, d := range inv.Unused {
		errs = append(errs, d.err)
	}
	return errors.Join(errs...)
}

func (inv inventory) print(out io.Writer) {
	if len(inv.Certificates)+len(inv.Unused) == 0 {
		fmt.Fprintln(out, "no certificates, no delegations")
		return
	}
	for i, l := range inv.Certificates {
		if i > 0 {
			fmt.Fprintln(out)
		}
		l.print(out)
	}
	if len(inv.Unused) > 0 {
		if len(inv.Certificates) > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintln(out, "registered, in no certificate")
		printDelegations(out, inv.Unused)
	}
}

func (l listed) print(out io.Writer) {
	fmt.Fprintln(out, l.Name)
	if l.err != nil {
		fmt.Fprintln(out, "  cannot be read")
		return
	}
	fmt.Fprintf(out, "  names    %s\n", strings.Join(l.Names, ", "))
	fmt.Fprintf(out, "  expires  %s (%s), due for renewal %s\n", l.NotAfter.Format(time.RFC3339), daysUntil(l.NotAfter), l.Renewal.Format(time.RFC3339))
	fmt.Fprintf(out, "  files    %s\n", l.Folder)
	printDelegations(out, l.Delegations)
}

func printDelegations(out io.Writer, all []delegation) {
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, d := range all {
		if d.err != nil {
			fmt.Fprintf(columns, "  %s\tcannot be read\n", d.Domain)
			continue
		}
		if d.CNAME == nil {
			fmt.Fprintf(columns, "  %s\tis not registered\n", d.Domain)
			continue
		}
		fmt.Fprintf(columns, "  %s\tCNAME %s\t%s\n", d.CNAME.Name, d.CNAME.Target, d.Server)
	}
	_ = columns.Flush()
}

func daysUntil(t time.Time) string {
	switch left := time.Until(t); {
	case left < 0:
		return "expired"
	case left < 48*time.Hour:
		return fmt.Sprintf("in %d hours", int(left.Hours()))
	default:
		return fmt.Sprintf("in %d days", int(left.Hours()/24))
	}
}
