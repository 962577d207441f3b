//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cnamed/test/program"
)

// updatedFor is long enough for hundreds of collections of garbage.
const updatedFor = 20 * time.Second

// benchMemory measures what a server needs, and how long it takes until it
// serves, with few registrations and with many. Each has two values, and then, as far
// as the updates get, one more that has to be kept for a while.
func benchMemory(ctx context.Context, s settings) error {
	folder, err := os.MkdirTemp("", "cnamed-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	binary, err := program.Build(ctx, folder)
	if err != nil {
		return err
	}
	fmt.Printf("%12s %10s %10s %10s %10s %14s %14s %10s %14s\n", "names", "seeding", "start", "resident", "peak", "database", "CPU µs/query", "updates", "peak with them")
	for _, n := range []int{s.names / 10, s.large} {
		if err := memoryRun(ctx, s, binary, filepath.Join(folder, fmt.Sprint(n)), n); err != nil {
			return err
		}
	}
	return nil
}

func memoryRun(ctx context.Context, s settings, binary, data string, n int) error {
	began := time.Now()
	names, err := seed(ctx, data, n)
	if err != nil {
		return fmt.Errorf("seeding %d names: %w", n, err)
	}
	seeding := time.Since(began)
	info, err := os.Stat(filepath.Join(data, "cnamed.db"))
	if err != nil {
		return err
	}

	began = time.Now()
	t, _, err := startCnamed(ctx, s, binary, data)
	if err != nil {
		return err
	}
	defer t.stop()
	start := time.Since(began)

	queries, err := plainCorpus(names)
	if err != nil {
		return err
	}
	figure, err := (&entry{target: t, queries: queries}).measure(ctx, s)
	if err != nil {
		return err
	}
	resident, peak, err := memory(t.pid)
	if err != nil {
		return err
	}
	updates, err := apiLoad{url: t.api, accounts: seedAccounts(n), clients: s.clients}.run(ctx, updatedFor)
	if err != nil {
		return err
	}
	_, updated, err := memory(t.pid)
	if err != nil {
		return err
	}
	fmt.Printf("%12d %10v %10v %7d MB %7d MB %11d MB %14.2f %10d %11d MB\n", n, seeding.Round(time.Millisecond), start.Round(time.Millisecond),
		resident>>20, peak>>20, info.Size()>>20, figure.cpuAtRate, len(updates.latencies), updated>>20)
	return nil
}
