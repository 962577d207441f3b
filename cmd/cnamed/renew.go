package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"cnamed/acmeclient"
)

func newRenew() *cobra.Command {
	var flags clientFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "renew [NAME...]",
		Short: "Renew the certificates that are due",
		Long: `Renews every certificate below --dir of whose lifetime less than a third is left
(less than half where it is under 10 days), or only those named, with the options
that it was issued with. Run it at least daily, from a timer or cron. It exits 0
where nothing was due; one that fails does not stop the others, and exits 1.`,
		Example: `  cnamed renew
  cnamed renew --force example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := flags.openIfThere(cmd)
			if err != nil || w == nil {
				return err
			}
			names, err := w.names(args)
			if err != nil {
				return err
			}
			outcomes := []outcome{}
			var errs []error
			for _, name := range names {
				o := w.renew(cmd.Context(), name, force)
				outcomes = append(outcomes, o)
				if o.err != nil {
					errs = append(errs, fmt.Errorf("renewing %s: %w", name, o.err))
				}
				if cmd.Context().Err() != nil {
					break
				}
			}
			if flags.asJSON {
				errs = append(errs, printJSON(cmd.OutOrStdout(), outcomes))
			} else {
				for _, o := range outcomes {
					fmt.Fprintln(cmd.OutOrStdout(), o)
				}
			}
			return errors.Join(errs...)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "renew also what is not due")
	return cmd
}

// outcome is what became of one certificate.
type outcome struct {
	Name    string    `json:"name"`
	Renewed bool      `json:"renewed"`
	Due     time.Time `json:"due,omitzero"`
	Issued  *issued   `json:"certificate,omitempty"`
	Error   string    `json:"error,omitempty"`

	err error
}

func (o outcome) String() string {
	switch {
	case o.err != nil && o.Issued != nil:
		return fmt.Sprintf("%s: renewed, but its deploy hook did not succeed", o.Name)
	case o.err != nil:
		return fmt.Sprintf("%s: failed, the certificate before it stays", o.Name)
	case o.Renewed:
		return fmt.Sprintf("%s: renewed, valid until %s", o.Name, o.Issued.NotAfter.Format(time.RFC3339))
	default:
		return fmt.Sprintf("%s: not due before %s", o.Name, o.Due.Format(time.RFC3339))
	}
}

// names returns the certificates that are there, or those of them that are asked
// for, all of which must be.
func (w *workspace) names(asked []string) ([]string, error) {
	all, err := w.certificates.List()
	if err != nil || len(asked) == 0 {
		return all, err
	}
	var errs []error
	for _, name := range asked {
		if !slices.Contains(all, name) {
			errs = append(errs, withHint(fmt.Errorf("there is no certificate named %s", quote(name)), "cnamed list shows those that there are"))
		}
	}
	return asked, errors.Join(errs...)
}

// errNotDue ends a renewal that another command did meanwhile.
var errNotDue = errors.New("not due any more")

func (w *workspace) renew(ctx context.Context, name string, force bool) (o outcome) {
	o.Name = name
	fail := func(err error) outcome {
		o.err, o.Error = err, err.Error()
		return o
	}
	c, err := w.load(name)
	if err != nil {
		return fail(err)
	}
	files := w.certificates.Paths(name)
	if err := w.mayRunHooks(c.plan, files); err != nil {
		return fail(err)
	}
	names := c.leaf.DNSNames
	if o.Due = acmeclient.RenewalTime(c.leaf); force || !time.Now().Before(o.Due) {
		w.talk.say("renewing %s, which is valid until %s", name, c.leaf.NotAfter.Format(time.RFC3339))
		result, err := w.obtain(ctx, c.plan, issueOptions{
			agreeTerms: true, // as was agreed to when it was first issued
			confirm: func() error {
				now, err := w.load(name)
				if err == nil && !force && time.Now().Before(acmeclient.RenewalTime(now.leaf)) {
					o.Due, err = acmeclient.RenewalTime(now.leaf), errNotDue
				}
				return err
			},
		})
		switch {
		case errors.Is(err, errNotDue):
			return o
		case err != nil:
			return fail(err)
		}
		o.Renewed, o.Issued, names = true, &result, result.Names
	} else if !w.owesHook(name) {
		return o
	}
	if err := w.runDeployHook(ctx, c.plan, names, files); err != nil {
		return fail(err)
	}
	return o
}

// stored is a certificate on disk and the plan that renews it.
type stored struct {
	leaf *x509.Certificate
	plan plan
}

func (w *workspace) load(name string) (s stored, err error) {
	files, err := w.certificates.Load(name)
	if err != nil {
		return s, err
	}
	if s.leaf, err = parseLeaf(files.Cert); err != nil {
		return s, err
	}
	s.plan, err = parsePlan(name, files.Renewal)
	return s, err
}

func parseLeaf(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, withHint(errors.New("cert.pem holds no certificate"), "issue the certificate once more with cnamed issue")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading cert.pem: %w", err)
	}
	return leaf, nil
}
