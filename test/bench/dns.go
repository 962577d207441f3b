//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/program"
)

const rounds = 3

// dnsFigure is what one target did, the median of the rounds.
type dnsFigure struct {
	cpuAtRate  []float64 // µs a query
	saturation []float64 // answers a second
	lost       float64   // share of the queries at the rate
}

// benchDNS measures every target in turn, several times over, so that drift of
// the machine falls on all of them.
func benchDNS(ctx context.Context, s settings) error {
	folder, err := os.MkdirTemp("", "cnamed-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	targets, queries, err := startTargets(ctx, folder, s.names)
	defer func() {
		for _, t := range targets {
			t.stop()
		}
	}()
	if err != nil {
		return err
	}

	figures := map[string]*dnsFigure{}
	for range rounds {
		for _, t := range targets {
			f := figures[t.name]
			if f == nil {
				f = &dnsFigure{}
				figures[t.name] = f
			}
			if err := f.measure(ctx, t, queries, s); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}

	echo := figures["echo"]
	fmt.Printf("%d names, TXT with EDNS, medians of %d rounds of %v\n\n", s.names, rounds, s.duration)
	fmt.Printf("%-8s %22s %9s %8s %22s %9s\n", "", fmt.Sprintf("CPU µs/query @%d/s", s.rate), "of echo", "lost", "saturation, answers/s", "of echo")
	for _, t := range targets {
		f := figures[t.name]
		cpu, top := median(f.cpuAtRate), median(f.saturation)
		fmt.Printf("%-8s %22.2f %8.2fx %7.2f%% %22.0f %8.2fx\n", t.name,
			cpu, cpu/median(echo.cpuAtRate), 100*f.lost, top, top/median(echo.saturation))
	}
	return nil
}

func startTargets(ctx context.Context, folder string, names int) (targets []*target, queries [][]byte, err error) {
	data := filepath.Join(folder, "data")
	subdomains, err := seed(ctx, data, names)
	if err != nil {
		return nil, nil, fmt.Errorf("seeding: %w", err)
	}
	zone := filepath.Join(folder, "zone.txt")
	if err := os.WriteFile(zone, []byte(zoneText(subdomains)), 0o600); err != nil {
		return nil, nil, err
	}
	binary, err := program.Build(ctx, folder)
	if err != nil {
		return nil, nil, err
	}
	starts := []func() (*target, error){
		func() (*target, error) { return startEcho(ctx) },
		func() (*target, error) { return startKnot(ctx, folder, zone) },
		func() (*target, error) { return startNSD(ctx, folder, zone) },
		func() (*target, error) { t, _, err := startCnamed(ctx, binary, data); return t, err },
	}
	for _, start := range starts {
		t, err := start()
		if err != nil {
			return targets, nil, err
		}
		if t != nil {
			targets = append(targets, t)
		}
	}
	queries, err = packQueries(subdomains)
	return targets, queries, err
}

func packQueries(subdomains []string) ([][]byte, error) {
	queries := make([][]byte, len(subdomains))
	for i, name := range subdomains {
		m := new(dns.Msg).SetQuestion(name+"."+origin+".", dns.TypeTXT).SetEdns0(1232, false)
		wire, err := m.Pack()
		if err != nil {
			return nil, err
		}
		queries[i] = wire
	}
	return queries, nil
}

func (f *dnsFigure) measure(ctx context.Context, t *target, queries [][]byte, s settings) error {
	l := load{server: t.addr, queries: queries, sockets: 16, window: 16}
	if _, err := l.run(ctx, 300*time.Millisecond); err != nil { // warm
		return err
	}
	l.rate = s.rate
	pids := family(t.pid)
	before, err := cpuTime(pids)
	if err != nil {
		return err
	}
	r, err := l.run(ctx, s.duration)
	if err != nil {
		return err
	}
	after, err := cpuTime(pids)
	if err != nil {
		return err
	}
	if r.answered == 0 {
		return fmt.Errorf("no query was answered")
	}
	f.cpuAtRate = append(f.cpuAtRate, float64((after-before).Nanoseconds())/1e3/float64(r.answered))
	f.lost = max(f.lost, 1-float64(r.answered)/float64(r.sent))

	l.rate = 0
	if r, err = l.run(ctx, s.duration); err != nil {
		return err
	}
	f.saturation = append(f.saturation, r.perSecond())
	return nil
}
