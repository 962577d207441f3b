package delegate

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const servedWithin = 2 * time.Minute

// Solver answers dns-01 challenges of delegated domains. It is safe for concurrent use.
type Solver struct {
	// Record returns the credentials for a domain. File.Get is one.
	Record func(domain string) (Record, error)
	API    *API
	// Checker sees that the values are served. Nil means one that asks the authoritative servers.
	Checker *Checker
	// Within bounds how long the values may take to be served, after the API accepted them. Zero means two minutes.
	Within time.Duration
}

var errNotInTime = errors.New("not in time")

// Present sets the values of domain, in their order, and returns nil when all of them are served.
func (s *Solver) Present(ctx context.Context, domain string, values []string) error {
	record, err := s.Record(domain)
	if err != nil {
		return err
	}
	for _, value := range values {
		if err := s.API.Update(ctx, record, value); err != nil {
			return fmt.Errorf("challenge of %s: %w", Key(domain), err)
		}
	}
	within := s.Within
	if within == 0 {
		within = servedWithin
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, errNotInTime)
	defer cancel()
	checker := s.Checker
	if checker == nil {
		checker = &Checker{}
	}
	if err := checker.Served(ctx, domain, record.FullDomain, values); err != nil {
		return fmt.Errorf("challenge of %s: %w", Key(domain), err)
	}
	return nil
}

// CleanUp does nothing: the API has no call for it. Servers keep the newest two values of a name, and let older ones go by
// themselves; a value that is left serves nobody, since it belongs to one authorization of one account.
func (s *Solver) CleanUp(context.Context, string, []string) error { return nil }
