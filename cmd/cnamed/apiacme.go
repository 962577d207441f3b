package main

import (
	"context"
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
	shared *sharedCertificate // nil: this server is alone

	lookEvery time.Duration   // Serve looks around, at least
	serving   *apiCertificate // nil: none; Serve's
	unsaved   bool            // serving is not on the disk; Serve's
}

// origin is kept beside the certificate: which CA it is from.
type origin struct {
	CA string `json:"ca"`
}

func newACMECertificates(c *config.Config, reg *registry.Registry, store registry.Store, log *slog.Logger) (*acmeCertificates, error) {
	dir, err := certdir.Open(filepath.Join(c.Data, "api"))
	if err != nil {
		return nil, err
	}
	a := &acmeCertificates{config: c, dir: dir, solver: ownZone{reg}, log: log, lookEvery: time.Hour}
	if s, ok := store.(certificateStore); ok {
		a.shared, a.lookEvery = newSharedCertificate(s, c.Domain), time.Minute
	}
	switch err := a.load(); {
	case errors.Is(err, fs.ErrNotExist):
		log.Info("the API has no certificate yet, one will be obtained", "name", c.Domain, "ca", c.ACME.CA)
	case err != nil:
		log.Warn("the API's certificate on disk cannot be used, another one will be obtained", "err", err)
	}
	return a, nil
}

// The pauses after failures. Those that the CA counts are as far apart as CAs
// ask for (five failed authorizations an hour end it); those that it never saw,
// as of the network, are shorter.
var (
	refusedPauses = []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour}
	failedPauses  = []time.Duration{10 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}
)

// Serve obtains the certificate when there is none, or it is due, until ctx ends.
func (a *acmeCertificates) Serve(ctx context.Context) error {
	failures := 0
	next := a.due()
	for {
		if a.unsaved {
			a.save()
		}
		if a.takeOver(ctx) {
			failures, next = 0, a.due()
		}
		if !time.Now().Before(next) {
			switch err := a.obtainOnce(ctx); {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				pause := pauseAfter(err, failures)
				failures++
				next = time.Now().Add(pause)
				a.log.Error("the API's certificate was not obtained", "name", a.config.Domain, "err", err, "hint", hintOf(err), "retry_in", pause)
			default:
				failures = 0
				next = a.afterSuccess()
			}
		}
		// By the wall clock, and looked at again and again: a clock that was set, or a
		// machine that slept, must not postpone it.
		next = next.Round(0)
		timer := time.NewTimer(min(time.Until(next), a.lookEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// afterSuccess returns when the next certificate is due: never so soon that a
// clock which is wrong makes one order follow the other.
func (a *acmeCertificates) afterSuccess() time.Time {
	leaf := a.serving.pair.Leaf
	soonest := time.Now().Add(min(leaf.NotAfter.Sub(leaf.NotBefore)/4, time.Hour))
	if due := a.due(); due.After(soonest) {
		return due
	}
	a.log.Warn("the API's new certificate is due already; is the clock of this machine right?", "not_after", leaf.NotAfter)
	return soonest
}

// pauseAfter returns how long to wait after a number of failures before this one.
func pauseAfter(err error, failures int) time.Duration {
	pauses := failedPauses
	var problem *acmeclient.Problem
	var asked time.Duration
	if errors.As(err, &problem) {
		pauses, asked = refusedPauses, problem.RetryAfter
	}
	return max(asked, pauses[min(failures, len(pauses)-1)])
}

// due returns when the certificate should be renewed: now where there is none,
// or where it is from another CA than the configuration names.
func (a *acmeCertificates) due() time.Time {
	if a.serving == nil || a.serving.foreign {
		return time.Time{}
	}
	return acmeclient.RenewalTime(a.serving.pair.Leaf)
}

// takeOver takes the certificate into use that another server has obtained, and
// reports whether there was one.
func (a *acmeCertificates) takeOver(ctx context.Context) bool {
	if a.shared == nil {
		return false
	}
	took, err := a.agree(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		a.log.Warn("the servers do not share the API's certificate at the moment", "err", err, "hint", hintOf(err))
	case took:
		a.log.Info("the API's certificate is that of the other servers", "name", a.config.Domain, "not_after", a.serving.pair.Leaf.NotAfter)
	}
	return took
}

// obtainOnce obtains a certificate, unless another server does it: then it waits
// for that one, and takes what came of it.
func (a *acmeCertificates) obtainOnce(ctx context.Context) error {
	if a.shared == nil {
		return a.obtain(ctx)
	}
	return a.shared.store.Alone(ctx, a.shared.name, func(ctx context.Context) error {
		if a.takeOver(ctx) && time.Now().Before(a.due()) {
			return nil
		}
		return a.obtain(ctx)
	})
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
	files, err := filesOf(certificate, origin{client.Directory})
	if err != nil {
		return err
	}
	obtained, err := a.read(files)
	if err != nil {
		return err
	}
	// From here on nothing fails: one that the others do not have, or that is not
	// on the disk, is no reason to order another.
	a.use(obtained)
	a.log.Info("the API has a new certificate", "name", a.config.Domain, "not_after", certificate.Leaf.NotAfter)
	if a.shared != nil {
		if err := a.shared.offer(ctx, files); err != nil {
			a.log.Warn("the other servers do not have the API's new certificate yet", "err", err, "hint", hintOf(err), "retry_in", a.lookEvery)
		}
	}
	a.save()
	return nil
}

// save writes the certificate in use to the disk. Where that fails it stays in use,
// and the next look tries again.
func (a *acmeCertificates) save() {
	again := a.unsaved
	_, err := a.dir.Save(a.config.Domain, a.serving.files)
	a.unsaved = err != nil
	switch {
	case err != nil:
		err = withHint(err, "make room in the data folder, or let this server write there: a restart before that loses it")
		a.log.Warn("the API's certificate is in use, but not on the disk yet", "err", err, "hint", hintOf(err), "retry_in", a.lookEvery)
	case again:
		a.log.Info("the API's certificate is on the disk now", "name", a.config.Domain)
	}
}

// load takes the certificate on disk into use. One for another domain, from
// before the setting changed, stays where it is and is not found here.
func (a *acmeCertificates) load() error {
	files, err := a.dir.Load(a.config.Domain)
	if err != nil {
		return err
	}
	c, err := a.read(files)
	if err != nil {
		return err
	}
	a.use(c)
	return nil
}

// use has new connections get c.
func (a *acmeCertificates) use(c *apiCertificate) {
	a.serving = c
	a.current.Store(&c.pair)
	if c.foreign {
		a.log.Info("the API's certificate is from another CA than is configured, another one will be obtained", "ca", a.config.ACME.CA)
	}
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
