package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"cnamed/acmeclient"
	"cnamed/acmeclient/certdir"
	"cnamed/config"
	"cnamed/registry"
)

// acmeCertificates obtains the certificate of the API as any client would, but
// for the way the challenge's values take: straight into the registry.
type acmeCertificates struct {
	currentCertificate
	config *config.Config
	dir    *certdir.Dir
	solver acmeclient.Solver
	log    *slog.Logger
}

func newACMECertificates(c *config.Config, reg *registry.Registry, log *slog.Logger) (*acmeCertificates, error) {
	dir, err := certdir.Open(filepath.Join(c.Data, "api"))
	if err != nil {
		return nil, err
	}
	a := &acmeCertificates{config: c, dir: dir, solver: ownZone{reg}, log: log}
	switch err := a.load(); {
	case errors.Is(err, fs.ErrNotExist):
		log.Info("the API has no certificate yet, one will be obtained", "name", c.Domain, "ca", c.ACME.CA)
	case err != nil:
		log.Warn("the API's certificate on disk cannot be used, another one will be obtained", "err", err)
	}
	return a, nil
}

// The first retry after a failure comes soon, the later ones further and further
// apart, as CAs ask for.
const (
	firstRetry = 10 * time.Second
	lastRetry  = 6 * time.Hour
)

// Serve obtains the certificate when there is none, or it is due, until ctx ends.
func (a *acmeCertificates) Serve(ctx context.Context) error {
	retry := firstRetry
	for {
		wait := time.Until(a.due())
		if wait <= 0 {
			err := a.obtain(ctx)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				a.log.Error("the API's certificate was not obtained", "name", a.config.Domain, "err", err, "hint", hintOf(err), "retry_in", retry)
				wait, retry = retry, min(retry*3, lastRetry)
			default:
				retry = firstRetry
				continue
			}
		}
		// A clock that was set, or a machine that slept, must not postpone it.
		timer := time.NewTimer(min(wait, time.Hour))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// due returns when the certificate should be renewed: now where there is none.
func (a *acmeCertificates) due() time.Time {
	certificate := a.current.Load()
	if certificate == nil {
		return time.Time{}
	}
	return acmeclient.RenewalTime(certificate.Leaf)
}

func (a *acmeCertificates) obtain(ctx context.Context) error {
	client, err := openAccount(ctx, accountRequest{
		folder:      filepath.Join(a.config.Data, "api"),
		ca:          a.config.ACME.CA,
		caRoot:      a.config.ACME.Root,
		email:       a.config.ACME.Email,
		agreesTerms: true,
		say:         func(format string, args ...any) { a.log.Info(fmt.Sprintf(format, args...)) },
		log:         a.log,
	})
	if err != nil {
		return err
	}
	key, err := acmeclient.EC256.Generate()
	if err != nil {
		return err
	}
	certificate, err := client.Obtain(ctx, acmeclient.Request{Names: []string{a.config.Domain}, Key: key, Solver: a.solver})
	if err != nil {
		return err
	}
	files, err := filesOf(certificate, nil)
	if err != nil {
		return err
	}
	if _, err := a.dir.Save(a.config.Domain, files); err != nil {
		return err
	}
	a.log.Info("the API has a new certificate", "name", a.config.Domain, "not_after", certificate.Leaf.NotAfter)
	return a.load()
}

// load takes the certificate on disk into use. One for another domain, from
// before the setting changed, stays where it is and is not found here.
func (a *acmeCertificates) load() error {
	saved, err := a.dir.Load(a.config.Domain)
	if err != nil {
		return err
	}
	certificate, err := tls.X509KeyPair(saved.FullChain, saved.PrivKey)
	if err != nil {
		return err
	}
	a.current.Store(&certificate)
	return nil
}

// ownZone solves the challenge of our own zone: its values need no API, and are
// served as soon as the registry has them.
type ownZone struct{ reg *registry.Registry }

func (z ownZone) Present(ctx context.Context, _ string, values []string) error {
	return z.reg.SetChallenges(ctx, values)
}

func (z ownZone) CleanUp(ctx context.Context, _ string, _ []string) error {
	return z.reg.SetChallenges(ctx, nil)
}
