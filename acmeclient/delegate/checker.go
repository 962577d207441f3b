// Package delegate is about names whose ACME challenges are answered by a cnamed or acme-dns server: the credentials for
// them (File), the HTTP API with which their TXT values are set (API), the CNAME record by which a domain's owner hands
// its challenges over (Checker), and all of it as one dns-01 solver (Solver).
//
// It promises that Solver.Present returns nil only after every server that is authoritative for a zone on the way, and
// that answers at all, served every value. Servers that do not answer, or answer that they cannot, are passed over as
// long as another one of their zone answers: resolvers do the same. It does not check DNSSEC.
package delegate

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// maxChain is how many CNAMEs are followed; resolvers give up at 8 to 16.
const maxChain = 12

// Checker sees what the DNS says about delegations: at each authoritative server directly, past all caches, or at the
// resolvers that the user named. It is safe for concurrent use.
type Checker struct {
	Resolver *Resolver    // nil: the system's
	Log      *slog.Logger // told about servers that are passed over; nil discards

	// The first and the longest pause between two looks, for tests. Zero means the documented ones.
	waitFirst, waitLast time.Duration
}

func (c *Checker) resolver() *Resolver {
	if c.Resolver == nil {
		return &Resolver{}
	}
	return c.Resolver
}

// look is one look at the DNS, or several in short order: zones are found once, and a server that does not answer is not
// waited for twice.
type look struct {
	c      *Checker
	r      *Resolver
	zones  map[string]place // by the name that was asked for
	silent map[string]error // by the address of the server
}

type place struct {
	zone      string
	endpoints []endpoint
}

func (c *Checker) look() *look {
	return &look{c: c, r: c.resolver(), zones: make(map[string]place), silent: make(map[string]error)}
}

func (l *look) place(ctx context.Context, name string) (place, error) {
	if p, ok := l.zones[name]; ok {
		return p, nil
	}
	zone, endpoints, err := l.r.endpoints(ctx, name)
	if err != nil {
		return place{}, err
	}
	p := place{zone, endpoints}
	l.zones[name] = p
	return p, nil
}

// ask puts a question to all servers of the zone that holds name, and returns the answers of those that gave one. When
// there are none, or ctx ended before all had their time, the error is an *UndeterminedError.
func (l *look) ask(ctx context.Context, p place, name string, qtype uint16) ([]answer, error) {
	var known []answer
	var endpoints []endpoint
	for _, e := range p.endpoints {
		if err := l.silent[e.address]; err != nil {
			known = append(known, answer{endpoint: e, err: err})
		} else {
			endpoints = append(endpoints, e)
		}
	}
	answers := l.r.askAll(ctx, endpoints, name, qtype)
	good := usable(answers)
	if len(good) < len(answers) && ctx.Err() != nil {
		// Who was cut off must not pass for one that does not answer.
		return nil, undetermined(name, p.zone, views(answers), context.Cause(ctx))
	}
	for _, a := range answers {
		if a.err == nil {
			continue
		}
		logger(l.c.Log).WarnContext(ctx, "a name server is passed over", "zone", p.zone, "server", a.endpoint.label, "error", a.err)
		if isTimeout(a.err) {
			l.silent[a.endpoint.address] = a.err
		}
	}
	if len(good) == 0 {
		return nil, undetermined(name, p.zone, views(append(answers, known...)), nil)
	}
	return good, nil
}

// Delegated returns nil when the challenges of domain are delegated to target: at every authoritative server that
// answers, _acme-challenge.<domain> is a CNAME which leads to target, over several names and zones if need be. Whether
// it is a wildcard record that does so does not matter, and neither does what is at target.
//
// The error is a *NotDelegatedError when the DNS says otherwise, and an *UndeterminedError when it does not say.
func (c *Checker) Delegated(ctx context.Context, domain, target string) error {
	_, err := c.look().follow(ctx, domain, target)
	return err
}

// follow walks along the CNAMEs from domain's challenge name to target. It returns the names before target.
func (l *look) follow(ctx context.Context, domain, target string) ([]string, error) {
	var names []string
	target = dns.CanonicalName(target)
	name := dns.CanonicalName(challengeName(domain))
	fault := NotDelegatedError{Domain: Key(domain), Name: name, Target: target}
	for name != target {
		if slices.Contains(names, name) || len(names) == maxChain {
			fault.Problem, fault.Found = Loop, name
			return nil, &fault
		}
		next, err := l.step(ctx, name, fault)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
		name = next
	}
	return names, nil
}

// step returns where the CNAME at name leads, if the servers agree about it.
func (l *look) step(ctx context.Context, name string, fault NotDelegatedError) (string, error) {
	p, err := l.place(ctx, name)
	if err != nil {
		return "", undetermined(name, "", nil, err)
	}
	good, err := l.ask(ctx, p, name, dns.TypeCNAME)
	if err != nil {
		return "", err
	}
	fault.Zone, fault.Views = p.zone, views(good)
	if !agree(good) {
		fault.Problem = Disagree
		return "", &fault
	}
	if good[0].cname != "" {
		return good[0].cname, nil
	}
	if name != fault.Name {
		fault.Problem, fault.Found = Elsewhere, name
		return "", &fault
	}
	fault.Problem, fault.Found = l.whatInstead(ctx, name, p, good[0].endpoint)
	return "", &fault
}

// agree reports whether all have the same CNAME. In which way a record is missing does not matter.
func agree(answers []answer) bool {
	return !slices.ContainsFunc(answers, func(a answer) bool { return a.cname != answers[0].cname })
}

// whatInstead looks for the usual reasons why there is no CNAME at name: a TXT record in its place, and a record whose
// name the zone was appended to.
func (l *look) whatInstead(ctx context.Context, name string, p place, e endpoint) (Problem, string) {
	at := []endpoint{e}
	if a := l.r.askAll(ctx, at, name, dns.TypeTXT)[0]; a.err == nil && a.cname == "" && len(a.txt) > 0 {
		return TXTInstead, ""
	}
	if doubled := name + p.zone; p.zone != "" && p.zone != "." && len(doubled) < 255 {
		if a := l.r.askAll(ctx, at, doubled, dns.TypeCNAME)[0]; a.err == nil && a.cname != "" {
			return Misplaced, doubled
		}
	}
	return Missing, ""
}

// Look is what WaitDelegated saw at one time.
type Look struct {
	Err  error         // as of Delegated; nil: the delegation is in place
	Next time.Duration // until the next look, if Err is not nil
}

// WaitDelegated looks until the delegation is in place: at first after a second, then less and less often, at last every
// 30 seconds. It calls observe, which may be nil, with the result of each look. It ends when ctx does, with an error that
// wraps both the cause and what the last look said, and at once when the resolvers to ask are not known.
func (c *Checker) WaitDelegated(ctx context.Context, domain, target string, observe func(Look)) error {
	first, last := c.pauses(time.Second, 30*time.Second)
	var saw error
	for pause := first; ; pause = min(pause*3/2, last) {
		err := c.Delegated(ctx, domain, target)
		if err != nil && ctx.Err() != nil && saw != nil {
			err = saw // the look was cut off; what was seen before tells more
		} else if observe != nil {
			observe(Look{Err: err, Next: pause})
		}
		if err == nil || isConfig(err) {
			return err
		}
		saw = err
		if ctx.Err() != nil || !sleep(ctx, pause) {
			return fmt.Errorf("waiting for the delegation: %w: %w", context.Cause(ctx), saw)
		}
	}
}

func (c *Checker) pauses(first, last time.Duration) (time.Duration, time.Duration) {
	if c.waitFirst > 0 {
		return c.waitFirst, c.waitLast
	}
	return first, last
}
