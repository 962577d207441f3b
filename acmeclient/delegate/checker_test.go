package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cnamed/test/lab"
)

func TestDelegationInPlace(t *testing.T) {
	t.Parallel()
	for name, records := range map[string][]string{
		"direct":           {goodCNAME},
		"other case":       {"_ACME-challenge.Example.com. CNAME SUB1.auth.Example.ORG."},
		"wildcard":         {"*.example.com. CNAME sub1.auth.example.org."},
		"chain":            {challenge + " CNAME a.example.com.", "a.example.com. CNAME sub1.auth.example.org."},
		"chain over zones": {challenge + " CNAME b.via.example."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.corp(t, records[:1]...)
			if len(records) > 1 {
				w.corp(t, records[1])
			}
			add(t, w.corp1, "b.via.example. CNAME sub1.auth.example.org.")
			for _, c := range []*Checker{w.checker, w.through} {
				if err := c.Delegated(t.Context(), "*.example.com", target); err != nil {
					t.Errorf("through a resolver: %v: %v", c == w.through, err)
				}
			}
		})
	}
}

func TestDelegationNotInPlace(t *testing.T) {
	t.Parallel()
	const line = challenge + " CNAME " + target + "."
	for _, tt := range []struct {
		name, record string
		problem      Problem
		found        string
		says, hint   string
		direct       bool // a resolver cannot tell this
	}{
		{"no name", "x.example.com. A 192.0.2.9", Missing, "", "no CNAME record", "add the record " + line, false},
		{"no such type", challenge + " A 192.0.2.9", Missing, "", "no CNAME record", "add the record " + line, false},
		{"TXT instead", challenge + ` TXT "x"`, TXTInstead, "", "a TXT record instead", "remove the TXT record and add: " + line, false},
		{"elsewhere", challenge + " CNAME www.example.com.", Elsewhere, "www.example.com.", "leads to www.example.com. instead of sub1", "change the record to: " + line, false},
		{"another target", challenge + " CNAME sub2.auth.example.org.", Elsewhere, "sub2.auth.example.org.", "leads to sub2", "change the record to", false},
		{"no final dot", challenge + " CNAME sub1.auth.example.org.example.com.", Elsewhere, "sub1.auth.example.org.example.com.", "leads to", "appended to the target", true},
		{"misplaced", "_acme-challenge.example.com.example.com. CNAME sub1.auth.example.org.", Misplaced, "_acme-challenge.example.com.example.com.", "the CNAME is at", "give the record the name _acme-challenge,", true},
		{"loop", challenge + " CNAME a.example.com.\na.example.com. CNAME _acme-challenge.example.com.", Loop, challenge, "in a circle", "change the records", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.corp(t, tt.record)
			for _, c := range []*Checker{w.checker, w.through} {
				if c == w.through && tt.direct {
					continue
				}
				err := c.Delegated(t.Context(), "example.com", target)
				var e *NotDelegatedError
				if !errors.As(err, &e) || e.Problem != tt.problem || e.Found != tt.found || e.Domain != "example.com" || e.Name != challenge {
					t.Errorf("through a resolver: %v: %#v", c == w.through, err)
					continue
				}
				if !strings.Contains(e.Error(), tt.says) || !strings.Contains(e.Hint(), tt.hint) {
					t.Errorf("error %v\nhint %s", e, e.Hint())
				}
			}
		})
	}
}

func TestServersThatDisagreeAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	add(t, w.corp1, goodCNAME)
	err := w.checker.Delegated(t.Context(), "example.com", target)
	var e *NotDelegatedError
	if !errors.As(err, &e) || e.Problem != Disagree || e.Zone != "example.com." {
		t.Fatalf("error %#v", err)
	}
	for _, part := range []string{"ns1.example.com. (192.0.2.1): CNAME sub1.auth.example.org.", "ns2.example.com. (192.0.2.2): no such name"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}

func TestCannotTell(t *testing.T) {
	t.Parallel()
	for _, fault := range []lab.Fault{lab.ServFail, lab.Refused, lab.Silent, lab.NotAuth, lab.Garbage} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.corp(t, goodCNAME)
			w.corp1.Fail(challenge, fault)
			if err := w.checker.Delegated(t.Context(), "example.com", target); fault != lab.NotAuth && err != nil {
				t.Errorf("one of two servers is enough: %v", err)
			}
			w.corp2.Fail(challenge, fault)
			err := w.checker.Delegated(t.Context(), "example.com", target)
			var e *UndeterminedError
			if !errors.As(err, &e) || e.Hint() == "" {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestInterceptedDNSIsRecognised(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.corp(t, goodCNAME)
	w.corp1.Fail("", lab.NotAuth)
	w.corp2.Fail("", lab.NotAuth)
	err := w.checker.Delegated(t.Context(), "example.com", target)
	if !strings.Contains(hint(err), "intercepts DNS") {
		t.Errorf("%v; %s", err, hint(err))
	}
}

func TestDelegationIsSeenWhileItsTargetIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.corp(t, goodCNAME)
	w.auth1.Fail("", lab.ServFail)
	w.auth2.Fail("", lab.ServFail)
	for _, c := range []*Checker{w.checker, w.through} {
		if err := c.Delegated(t.Context(), "example.com", target); err != nil {
			t.Errorf("through a resolver: %v: %v", c == w.through, err)
		}
	}
}

func TestNamedResolversAreAskedAlone(t *testing.T) {
	t.Parallel()
	resolver := startCorp(t, corpZone, authZone) // answers anything we ask it, as a resolver does
	add(t, resolver, goodCNAME, target+`. TXT "v1"`)
	c := &Checker{Resolver: &Resolver{Servers: []string{resolver.Addr()}}}
	if err := c.Delegated(t.Context(), "example.com", target); err != nil {
		t.Error(err)
	}
	if err := c.Served(t.Context(), "example.com", target, []string{"v1"}); err != nil {
		t.Error(err)
	}
	for _, q := range resolver.Queries() {
		if q.Name != challenge {
			t.Errorf("asked for %v", q)
		}
	}
}

func TestBadResolversAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for _, r := range []*Resolver{{Servers: []string{"dns.example.com"}}, {ResolvConf: "/nonexistent/resolv.conf"}} {
		c := &Checker{Resolver: r}
		var e *ResolverError
		if err := c.WaitDelegated(t.Context(), "example.com", target, nil); !errors.As(err, &e) || !strings.Contains(hint(e), "--resolver") {
			t.Errorf("WaitDelegated: %v", err)
		}
		if err := c.Served(t.Context(), "example.com", target, []string{"v"}); !errors.As(err, &e) {
			t.Errorf("Served: %v", err)
		}
	}
}

func TestWaitUntilDelegated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var looks []string
	err := w.checker.WaitDelegated(t.Context(), "example.com", target, func(l Look) {
		var e *NotDelegatedError
		switch {
		case l.Err == nil:
			looks = append(looks, "in place")
		case errors.As(l.Err, &e):
			looks = append(looks, fmt.Sprint(e.Problem))
		default:
			t.Errorf("look %v", l.Err)
		}
		switch len(looks) {
		case 1:
			add(t, w.corp2, goodCNAME)
		case 2:
			add(t, w.corp1, goodCNAME)
		}
	})
	want := []string{fmt.Sprint(Missing), fmt.Sprint(Disagree), "in place"}
	if err != nil || !slices.Equal(looks, want) {
		t.Errorf("looks %v, %v", looks, err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	looks := 0
	err := w.checker.WaitDelegated(ctx, "example.com", target, func(Look) {
		if looks++; looks == 2 {
			cancel(reason)
		}
	})
	var e *NotDelegatedError
	if !errors.As(err, &e) || e.Problem != Missing || !errors.Is(err, reason) {
		t.Errorf("error %v", err)
	}
}
