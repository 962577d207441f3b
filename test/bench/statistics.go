//go:build linux && (amd64 || arm64)

package main

import (
	"cmp"
	"fmt"
	"slices"
)

// quantile returns the value below which the share q of the values lies.
func quantile[T cmp.Ordered](values []T, q float64) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }

// column is one figure of all rounds of an entry.
type column func(round) float64

func (e *entry) column(f column) []float64 {
	var values []float64
	for _, r := range e.rounds {
		values = append(values, f(r))
	}
	return values
}

// spread is a median with the least and the most.
func (e *entry) spread(f column, format string) string {
	values := e.column(f)
	return fmt.Sprintf(format+" ("+format+"–"+format+")", median(values), slices.Min(values), slices.Max(values))
}

// ratio is the median of the ratios to another entry, round by round: what the
// machine does to a round it does to both.
func (e *entry) ratio(f column, to *entry) float64 {
	mine, theirs := e.column(f), to.column(f)
	for i := range mine {
		mine[i] /= theirs[i]
	}
	return median(mine)
}

func cpuAtRate(r round) float64  { return r.cpuAtRate }
func saturation(r round) float64 { return r.saturation }
func cpuAtTop(r round) float64   { return r.cpuAtTop }
