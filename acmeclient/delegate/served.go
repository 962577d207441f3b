package delegate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Served waits until a validator that looks at the challenge of domain finds every one of values, whichever servers it
// asks: each authoritative server of each zone on the way, from _acme-challenge.<domain> to target, that answers at all.
// It looks again after 20 ms, then less and less often, at last every second, until ctx ends. Then the error is a
// *NotServedError which says what each server still said, or what Delegated returns if the CNAMEs did not lead to
// target; it wraps the cause of the end, too.
func (c *Checker) Served(ctx context.Context, domain, target string, values []string) error {
	first, last := c.pauses(20*time.Millisecond, time.Second)
	look := c.look()
	var saw error
	for pause := first; ; pause = min(2*pause, last) {
		err := look.served(ctx, domain, target, values)
		if err == nil || isConfig(err) {
			return err
		}
		if saw == nil || ctx.Err() == nil {
			saw = err
		}
		var unknown *UndeterminedError
		if errors.As(err, &unknown) {
			look = c.look() // perhaps the servers are others now
		}
		if ctx.Err() != nil || !sleep(ctx, pause) {
			return &waitError{saw, context.Cause(ctx)}
		}
	}
}

// waitError is what was seen last when a wait ended. It has the text of that alone.
type waitError struct{ saw, cause error }

func (e *waitError) Error() string   { return e.saw.Error() }
func (e *waitError) Unwrap() []error { return []error{e.saw, e.cause} }

// served looks once.
func (l *look) served(ctx context.Context, domain, target string, values []string) error {
	if _, err := l.follow(ctx, domain, target); err != nil {
		return err
	}
	name := dns.CanonicalName(target)
	if len(l.r.Servers) > 0 {
		name = dns.CanonicalName(challengeName(domain)) // resolvers have to find the way by themselves
	}
	p, err := l.place(ctx, name)
	if err != nil {
		return undetermined(name, "", nil, err)
	}
	good, err := l.ask(ctx, p, name, dns.TypeTXT)
	if err != nil {
		return err
	}
	fault := &NotServedError{Domain: Key(domain), Name: name, Zone: p.zone, Values: values}
	for _, a := range good {
		for _, value := range values {
			if !slices.Contains(a.txt, value) {
				fault.Views = append(fault.Views, View{a.endpoint.label, a.values()})
				break
			}
		}
	}
	if len(fault.Views) > 0 {
		return fault
	}
	return nil
}

// values describes the answer to a question for TXT.
func (a answer) values() string {
	if len(a.txt) == 0 {
		return a.missing
	}
	a.cname = ""
	return a.says()
}
