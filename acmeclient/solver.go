package acmeclient

import "context"

// A Solver puts dns-01 values in place. Its methods are called for several domains at once, and so must be safe for concurrent
// use. They must return soon after their context ends.
type Solver interface {
	// Present returns nil when every value is served where validators look for the challenge of domain, which is in Punycode
	// and without "*.": at _acme-challenge.<domain>. For one order it is called once for a domain, with all its values: two
	// where both the domain and its wildcard are ordered.
	Present(ctx context.Context, domain string, values []string) error

	// CleanUp may remove the values. It is called once for each Present, also for one that failed, when the CA does not need
	// them any more. The context outlives the one of Present by a bounded time. Its errors are logged, never fatal.
	CleanUp(ctx context.Context, domain string, values []string) error
}
