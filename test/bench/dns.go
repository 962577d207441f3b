//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// benchDNS asks every server for names that exist.
func benchDNS(ctx context.Context, s settings) error {
	return withField(ctx, s, func(f *field) error {
		for _, n := range []int{s.names, s.large} {
			if n == 0 {
				continue
			}
			names, targets, err := f.start(ctx, n)
			if err != nil {
				return err
			}
			queries, err := plainCorpus(names)
			if err != nil {
				return err
			}
			var entries []*entry
			for _, t := range targets {
				entries = append(entries, &entry{target: t, label: t.name, queries: queries})
			}
			if err := contest(ctx, s, entries); err != nil {
				return err
			}
			title(s, "%d names: TXT of a name that exists, with EDNS", n)
			printContest(s, entries)
			f.stop()
		}
		return nil
	})
}

// benchMix asks every server two kinds of questions in turn.
func benchMix(ctx context.Context, s settings) error {
	return withField(ctx, s, func(f *field) error {
		names, targets, err := f.start(ctx, s.names)
		if err != nil {
			return err
		}
		plain, err := plainCorpus(names)
		if err != nil {
			return err
		}
		mix, err := mixCorpus(names)
		if err != nil {
			return err
		}
		var entries []*entry
		for _, t := range targets {
			entries = append(entries,
				&entry{target: t, label: t.name + " plain", queries: plain},
				&entry{target: t, label: t.name + " mix", queries: mix})
		}
		if err := contest(ctx, s, entries); err != nil {
			return err
		}
		title(s, "%d names: 50 %% absent names, 25 %% other types, 25 %% TXT, all in random case, against plain", s.names)
		printPairs(s, entries, "mix/plain")
		return nil
	})
}

// benchScale asks servers with few and with many names in turn.
func benchScale(ctx context.Context, s settings) error {
	return withField(ctx, s, func(f *field) error {
		sizes := [2]int{s.small, s.large}
		var all [2][]*entry
		for i, n := range sizes {
			names, targets, err := f.start(ctx, n)
			if err != nil {
				return err
			}
			queries, err := plainCorpus(names)
			if err != nil {
				return err
			}
			for _, t := range targets {
				all[i] = append(all[i], &entry{target: t, label: fmt.Sprint(t.name, " ", n), queries: queries})
			}
		}
		var entries []*entry
		for i := range all[0] {
			entries = append(entries, all[0][i], all[1][i])
		}
		if err := contest(ctx, s, entries); err != nil {
			return err
		}
		title(s, "%d names against %d: TXT of a name that exists, with EDNS", sizes[1], sizes[0])
		printPairs(s, entries, "many/few")
		return nil
	})
}

func withField(ctx context.Context, s settings, run func(*field) error) error {
	folder, err := os.MkdirTemp("", "cnamed-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	f, err := newField(ctx, s, folder)
	if err != nil {
		return err
	}
	defer f.stop()
	return run(f)
}

func title(s settings, format string, args ...any) {
	fmt.Printf("\n%s\n%d rounds of %v, interleaved: median (least–most); ratios are medians of those of each round. Load average: %s\n\n",
		fmt.Sprintf(format, args...), s.rounds, s.duration, loadAverage())
}

func find(entries []*entry, name string) *entry {
	i := slices.IndexFunc(entries, func(e *entry) bool { return e.name == name })
	if i < 0 {
		return nil
	}
	return entries[i]
}

func printContest(s settings, entries []*entry) {
	echo, knot := find(entries, "echo"), find(entries, "knot")
	against := func(e *entry, f column, to *entry) string {
		if to == nil {
			return "-"
		}
		return fmt.Sprintf("%.2fx", e.ratio(f, to))
	}
	fmt.Printf("%-8s  %-24s %7s %7s  %-30s %7s %7s  %-24s %7s %7s  %6s\n", "", fmt.Sprintf("CPU µs/query at %d/s", s.rate), "of echo", "of knot",
		"saturation, answers/s", "of echo", "of knot", "CPU µs/query there", "of echo", "of knot", "lost")
	for _, e := range entries {
		fmt.Printf("%-8s  %-24s %7s %7s  %-30s %7s %7s  %-24s %7s %7s  %5.2f%%\n", e.label,
			e.spread(cpuAtRate, "%.2f"), against(e, cpuAtRate, echo), against(e, cpuAtRate, knot),
			e.spread(saturation, "%.0f"), against(e, saturation, echo), against(e, saturation, knot),
			e.spread(cpuAtTop, "%.2f"), against(e, cpuAtTop, echo), against(e, cpuAtTop, knot),
			100*median(e.column(func(r round) float64 { return r.lost })))
	}
	printMachine(entries)
}

// printPairs prints entries of which each second one is compared to the one
// before.
func printPairs(s settings, entries []*entry, ratio string) {
	fmt.Printf("%-16s  %-24s %10s  %-30s %10s  %-24s %10s\n", "", fmt.Sprintf("CPU µs/query at %d/s", s.rate), ratio,
		"saturation, answers/s", ratio, "CPU µs/query there", ratio)
	for i, e := range entries {
		against := func(f column) string {
			if i%2 == 0 {
				return ""
			}
			return fmt.Sprintf("%.2fx", e.ratio(f, entries[i-1]))
		}
		fmt.Printf("%-16s  %-24s %10s  %-30s %10s  %-24s %10s\n", e.label, e.spread(cpuAtRate, "%.2f"), against(cpuAtRate),
			e.spread(saturation, "%.0f"), against(saturation), e.spread(cpuAtTop, "%.2f"), against(cpuAtTop))
	}
	printMachine(entries)
}

// printMachine says what may have spoilt the figures.
func printMachine(entries []*entry) {
	var others, idle []float64
	noisy := 0
	for _, e := range entries {
		for _, r := range e.rounds {
			others, idle = append(others, r.others), append(idle, r.idle)
			if r.others > quiet {
				noisy++
			}
		}
	}
	fmt.Printf("\nOther processes had %.1f %% of the machine (median; most %.1f %%), and at saturation %.1f %% was idle (most %.1f %%).\n"+
		"Saturation is scaled to a machine without the others.\n",
		100*median(others), 100*slices.Max(others), 100*median(idle), 100*slices.Max(idle))
	if noisy > 0 {
		fmt.Printf("In %d of %d measurements others had more than %.0f %%: repeat it on a quieter machine before you rely on it.\n",
			noisy, len(others), 100*quiet)
	}
}
