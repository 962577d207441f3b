package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"cnamed/acmeclient"
	"cnamed/acmeclient/delegate"
)

// delegations are the domains of one certificate, each registered.
type delegations struct {
	all     []registered
	api     *delegate.API
	checker *delegate.Checker
	talk    *talk
}

// delegationsOf returns the delegations that a plan needs, and registers what is
// not registered yet.
func (w *workspace) delegationsOf(ctx context.Context, p plan) (*delegations, error) {
	server := serverFlags{server: p.Server, root: p.ServerRoot, insecure: p.AllowHTTP}
	api, err := server.api(w)
	if err != nil {
		return nil, err
	}
	domains, err := baseDomains(p.Names)
	if err != nil {
		return nil, err
	}
	d := &delegations{
		api:     api,
		checker: &delegate.Checker{Resolver: &delegate.Resolver{Servers: p.Resolvers}, Log: w.log},
		talk:    w.talk,
	}
	for _, domain := range domains {
		r, err := w.register(ctx, api, domain, nil)
		if err != nil {
			return nil, err
		}
		d.all = append(d.all, r)
	}
	return d, nil
}

// check returns nil when every domain has its CNAME record. All that are missing
// are reported together.
func (d *delegations) check(ctx context.Context) error {
	return d.each(func(r registered) error { return d.checker.Delegated(ctx, r.Domain, r.record.FullDomain) })
}

// wait waits until check would return nil, and tells what it waits for.
func (d *delegations) wait(ctx context.Context) error {
	return d.each(func(r registered) error {
		told := ""
		return d.checker.WaitDelegated(ctx, r.Domain, r.record.FullDomain, func(look delegate.Look) {
			// A person reads this: the same words again only when they change.
			if look.Err != nil && look.Err.Error() != told {
				told = look.Err.Error()
				d.talk.say("waiting: %v\n%s", look.Err, hintOf(look.Err))
			}
		})
	})
}

// each calls f for all domains at once, and says so when all have succeeded.
func (d *delegations) each(f func(registered) error) error {
	errs := make([]error, len(d.all))
	var group sync.WaitGroup
	for i, r := range d.all {
		group.Go(func() { errs[i] = f(r) })
	}
	group.Wait()
	err := errors.Join(errs...)
	if err == nil {
		d.talk.say("delegation is in place: %s", d)
	}
	return err
}

func (d *delegations) String() string {
	s := ""
	for i, r := range d.all {
		if i > 0 {
			s += ", "
		}
		s += r.Domain
	}
	return s
}

func (d *delegations) solver() acmeclient.Solver {
	return &delegate.Solver{Record: d.record, API: d.api, Checker: d.checker}
}

func (d *delegations) record(domain string) (delegate.Record, error) {
	i := slices.IndexFunc(d.all, func(r registered) bool { return r.Domain == domain })
	if i < 0 {
		return delegate.Record{}, fmt.Errorf("%s: %w", domain, delegate.ErrNoRecord)
	}
	return d.all[i].record, nil
}

// api returns the client of the API, or an error where no server was named: no
// default, since credentials must not go to a server that nobody chose.
func (f *serverFlags) api(w *workspace) (*delegate.API, error) {
	if f.server == "" {
		return nil, &usageError{"no server is given", "name your own: --server https://auth.example.org"}
	}
	api := &delegate.API{
		URL: f.server, AllowHTTP: f.insecure, Proxy: http.ProxyFromEnvironment, UserAgent: userAgent(), Log: w.log,
	}
	if f.root != "" {
		roots, err := readRoots(f.root)
		if err != nil {
			return nil, err
		}
		api.RootCAs = roots
	}
	return api, nil
}
