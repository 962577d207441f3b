//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// entry is one server asked by one corpus, and what the rounds found.
type entry struct {
	*target
	label   string
	queries *corpus
	rounds  []round
}

// round is what one entry did in one round.
type round struct {
	cpuAtRate  float64 // µs a query, at the rate
	saturation float64 // answers a second, if others had left the machine alone
	cpuAtTop   float64 // µs a query, at saturation
	lost       float64 // share of the questions, at the rate
	others     float64 // share of the machine that others had, the larger of the two
	idle       float64 // share of the machine that nobody used at saturation
}

// contest measures every entry in turn, several times over, so that drift of
// the machine falls on all of them.
func contest(ctx context.Context, s settings, entries []*entry) error {
	for _, e := range entries {
		if e.name != "echo" {
			if err := e.queries.check(e.addr); err != nil {
				return fmt.Errorf("%s: %w", e.label, err)
			}
		}
	}
	for i := range s.rounds {
		for j := range entries {
			e := entries[(i+j)%len(entries)]
			r, err := e.quietest(ctx, s)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", e.label, i+1, err)
			}
			e.rounds = append(e.rounds, r)
			progress("round %d of %d: %-16s %7.2f µs/query at %d/s, %8.0f/s and %6.2f µs/query at saturation; idle %.0f %%, others %.0f %%",
				i+1, s.rounds, e.label, r.cpuAtRate, s.rate, r.saturation, r.cpuAtTop, 100*r.idle, 100*r.others)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return profileEntries(ctx, s, entries)
}

// progress tells who waits what was found so far.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// quietest measures again while others are in the way, and returns the
// measurement in which they had least. What it found is no reason to choose it.
func (e *entry) quietest(ctx context.Context, s settings) (best round, err error) {
	for attempt := range s.retries + 1 {
		if err := awaitQuiet(ctx, s.wait); err != nil {
			return best, err
		}
		r, err := e.measure(ctx, s)
		if err != nil {
			return r, err
		}
		if attempt == 0 || r.others < best.others {
			best = r
		}
		if best.others <= quiet {
			break
		}
	}
	return best, nil
}

func (e *entry) measure(ctx context.Context, s settings) (r round, err error) {
	l := load{server: e.addr, queries: e.queries}
	if _, err := l.flood(ctx, 200*time.Millisecond); err != nil { // warm
		return r, err
	}
	atRate, err := e.interval(func() (result, error) { return l.steady(ctx, s.rate, s.duration) })
	if err != nil {
		return r, err
	}
	top, err := e.interval(func() (result, error) { return l.flood(ctx, s.duration) })
	if err != nil {
		return r, err
	}
	return round{
		cpuAtRate: atRate.perQuery(), lost: atRate.lost(),
		saturation: top.perSecond() / (1 - top.others), cpuAtTop: top.perQuery(), idle: top.idle,
		others: max(atRate.others, top.others),
	}, nil
}

// measured is a load with what it cost.
type measured struct {
	result
	server       time.Duration
	others, idle float64
}

func (m *measured) perQuery() float64 {
	return float64(m.server.Nanoseconds()) / 1e3 / float64(m.answered)
}

// interval measures what the server uses while run runs.
func (t *target) interval(run func() (result, error)) (m measured, err error) {
	pids := family(t.pid)
	before, err := readMachine()
	if err != nil {
		return m, err
	}
	server, err := cpuTime(pids...)
	if err != nil {
		return m, err
	}
	client, err := cpuTime(os.Getpid())
	if err != nil {
		return m, err
	}
	if m.result, err = run(); err != nil {
		return m, err
	}
	after, err := readMachine()
	if err != nil {
		return m, err
	}
	serverAfter, err := cpuTime(pids...)
	if err != nil {
		return m, err
	}
	clientAfter, err := cpuTime(os.Getpid())
	if err != nil {
		return m, err
	}
	m.server = serverAfter - server
	m.idle, m.others = after.since(before, m.server+clientAfter-client)
	return m, m.check()
}
