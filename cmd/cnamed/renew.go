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
	"cnamed/acmeclient/certdir"
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
			w, err := flags.open(cmd)
			if err != nil {
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
		return fmt.Sprintf("%s: renewed, but its deploy hook failed", o.Name)
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
	o.Due = acmeclient.RenewalTime(c.leaf)
	if !force && time.Now().Before(o.Due) {
		return o
	}
	w.talk.say("renewing %s, which is valid until %s", name, c.leaf.NotAfter.Format(time.RFC3339))
	// The terms were agreed to when the certificate was first issued.
	result, err := w.obtain(ctx, c.plan, issueOptions{agreeTerms: true})
	if err != nil {
		return fail(err)
	}
	o.Renewed, o.Issued = true, &result
	if err := w.runDeployHook(ctx, c.plan, result); err != nil {
		return fail(err)
	}
	return o
}

// stored is a certificate on disk and the plan that renews it.
type stored struct {
	files certdir.Files
	leaf  *x509.Certificate
	plan  plan
}

func (w *workspace) load(name string) (stored, error) {
	files, err := w.certificates.Load(name)
	if err != nil {
		return stored{}, err
	}
	s := stored{files: files}
	block, _ := pem.Decode(files.Cert)
	if block == nil {
		return s, withHint(errors.New("cert.pem holds no certificate"), "issue the certificate once more with cnamed issue")
	}
	if s.leaf, err = x509.ParseCertificate(block.Bytes); err != nil {
		return s, fmt.Errorf("reading cert.pem: %w", err)
	}
	s.plan, err = parsePlan(files.Renewal)
	return s, err
}
