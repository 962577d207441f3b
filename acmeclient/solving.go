package acmeclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A DomainError says which domain failed.
type DomainError struct {
	Domain string // with "*." where it is about the wildcard alone
	Err    error
}

func (e *DomainError) Error() string {
	// The CA's problem often says it itself.
	if p, ok := e.Err.(*Problem); ok && p.Identifier != nil && p.Identifier.Value == e.Domain {
		return p.Error()
	}
	return e.Domain + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *DomainError) Unwrap() error { return e.Err }

// cleanUpTimeout bounds the tidying that goes on after a context has ended.
const cleanUpTimeout = 10 * time.Second

// solving is the part of Obtain between the order and its finalization.
type solving struct {
	client  *Client
	solver  Solver
	observe func(Event)
	domains []string // of the names that are ordered, without "*."

	observing sync.Mutex
	tidying   sync.WaitGroup
}

// proof is one authorization that wants one.
type proof struct {
	name          string // with "*."
	authorization string // URL
	challenge     Challenge
	value         string // of the TXT record
}

// wait returns when nothing of this order goes on any more.
func (s *solving) wait() { s.tidying.Wait() }

func (s *solving) event(e Event) {
	if s.observe == nil {
		return
	}
	s.observing.Lock()
	defer s.observing.Unlock()
	s.observe(e)
}

func (s *solving) failed(name string, err error) error {
	s.event(Event{Kind: AuthorizationFailed, Name: name})
	return &DomainError{Domain: name, Err: err}
}

// solve returns nil when every authorization of the order is valid. Domains are independent of each other: one that fails does
// not stop the rest, so that all failures are reported, and what did succeed is known to the CA at the next attempt.
func (s *solving) solve(ctx context.Context, order *Order) error {
	proofs, err := s.proofs(ctx, order)
	if err != nil {
		s.giveUp(ctx, proofs)
		return err
	}
	domains := make(map[string][]proof)
	for _, p := range proofs {
		domain := BaseDomain(p.name)
		domains[domain] = append(domains[domain], p)
	}
	var failures errorList
	var group sync.WaitGroup
	for domain, proofs := range domains {
		group.Go(func() { failures.add(s.prove(ctx, domain, proofs)) })
	}
	group.Wait()
	return failures.err()
}

// proofs fetches the authorizations and returns those that are not valid yet. When it fails it returns what it found.
func (s *solving) proofs(ctx context.Context, order *Order) ([]proof, error) {
	found := make([]*proof, len(order.Authorizations))
	var failures errorList
	var group sync.WaitGroup
	for i, url := range order.Authorizations {
		group.Go(func() {
			var err error
			found[i], err = s.proof(ctx, url)
			failures.add(err)
		})
	}
	group.Wait()
	var proofs []proof
	for _, p := range found {
		if p != nil {
			proofs = append(proofs, *p)
		}
	}
	return proofs, failures.err()
}

// proof returns nil for an authorization that needs none.
func (s *solving) proof(ctx context.Context, url string) (*proof, error) {
	authorization, err := s.client.Authorization(ctx, url)
	if err != nil {
		return nil, err
	}
	name := authorization.Name()
	// The name comes from outside and leads to a change of the DNS. Some CAs do not say that it is for a wildcard.
	if authorization.Identifier.Type != "dns" || !slices.Contains(s.domains, BaseDomain(name)) {
		return nil, s.failed(printable(name, 300), errors.New("the CA wants it authorized, and it was not ordered"))
	}
	switch authorization.Status {
	case StatusValid:
		s.event(Event{Kind: AuthorizationReused, Name: name, URL: url})
		return nil, nil
	case StatusPending:
	default:
		return nil, s.failed(name, authorization.failure())
	}
	challenge, ok := authorization.Challenge(ChallengeDNS01)
	if !ok {
		return nil, s.failed(name, fmt.Errorf("the CA offers no %s challenge, but %s", ChallengeDNS01, authorization.offers()))
	}
	value, err := s.client.DNS01Value(challenge.Token)
	if err != nil {
		return nil, s.failed(name, err)
	}
	return &proof{name: name, authorization: url, challenge: challenge, value: value}, nil
}

// prove has the values of one domain presented, and then validated.
func (s *solving) prove(ctx context.Context, domain string, proofs []proof) error {
	var values []string
	for _, p := range proofs {
		if !slices.Contains(values, p.value) {
			values = append(values, p.value)
		}
	}
	s.event(Event{Kind: ChallengePresenting, Name: domain})
	defer s.cleanUp(ctx, domain, values)
	if err := s.solver.Present(ctx, domain, values); err != nil {
		s.giveUp(ctx, proofs)
		return s.failed(domain, fmt.Errorf("presenting the challenge: %w", err))
	}
	s.event(Event{Kind: ChallengePresented, Name: domain})

	var failures errorList
	var group sync.WaitGroup
	for _, p := range proofs {
		group.Go(func() {
			if err := s.validate(ctx, p); err != nil {
				failures.add(s.failed(p.name, err))
				return
			}
			s.event(Event{Kind: AuthorizationValid, Name: p.name, URL: p.authorization})
		})
	}
	group.Wait()
	return failures.err()
}

func (s *solving) validate(ctx context.Context, p proof) error {
	_, last, err := s.client.acceptChallenge(ctx, p.challenge)
	if err != nil && !s.wasAccepted(ctx, p) {
		return err
	}
	s.event(Event{Kind: ChallengeAccepted, Name: p.name, URL: p.challenge.URL})
	authorization, err := s.client.waitAuthorization(ctx, p.authorization, last)
	if err != nil {
		return err
	}
	if authorization.Status != StatusValid {
		return authorization.failure()
	}
	return nil
}

// wasAccepted tells a challenge that the CA refuses from one that it took, when the reply was lost and a second request refused.
func (s *solving) wasAccepted(ctx context.Context, p proof) bool {
	authorization, err := s.client.Authorization(ctx, p.authorization)
	if err != nil {
		return false
	}
	challenge, ok := authorization.Challenge(ChallengeDNS01)
	return ok && challenge.Status != StatusPending
}

// cleanUp lets the solver remove the values while Obtain goes on.
func (s *solving) cleanUp(ctx context.Context, domain string, values []string) {
	s.tidy(ctx, func(ctx context.Context) {
		if err := s.solver.CleanUp(ctx, domain, values); err != nil {
			s.client.log().WarnContext(ctx, "cleaning up after a challenge", "domain", domain, "error", err)
		}
	})
}

// giveUp spares the account's limit of pending authorizations. It is only for those whose challenge was not accepted: the CA
// settles the others.
func (s *solving) giveUp(ctx context.Context, proofs []proof) {
	for _, p := range proofs {
		s.tidy(ctx, func(ctx context.Context) {
			if err := s.client.DeactivateAuthorization(ctx, p.authorization); err != nil {
				s.client.log().DebugContext(ctx, "giving up an authorization", "name", p.name, "error", err)
			}
		})
	}
}

func (s *solving) tidy(ctx context.Context, do func(context.Context)) {
	s.tidying.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
		defer cancel()
		do(ctx)
	})
}
