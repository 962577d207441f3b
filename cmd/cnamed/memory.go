package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

const (
	// garbage is what may come together between two collections, in bytes, in a
	// server that is not large. An update leaves some ten thousand, so that much
	// less would mean dozens of collections a second under load.
	garbage = 32 << 20
	// leastPercent of what is in use may always come together. Most of a large
	// server's memory is the index of the registry, in which there is next to
	// nothing to look at, so that it costs no time that can be measured.
	leastPercent = 30

	usedAlways   = 8 << 20 // in use without any account
	usedPerEntry = 200
	adaptEvery   = 10 * time.Second

	largeServer = 1_000_000 // accounts
)

// collectAt tells the garbage collector when to run in a server with so many
// accounts. Who sets GOGC decides for himself.
func collectAt(accounts int) {
	if os.Getenv("GOGC") == "" {
		used := usedAlways + usedPerEntry*int64(accounts)
		debug.SetGCPercent(int(max(leastPercent, 100*garbage/used)))
	}
}

// adaptMemory keeps that right while accounts come and go, until ctx ends.
func adaptMemory(ctx context.Context, accounts func() int) {
	ticker := time.NewTicker(adaptEvery)
	defer ticker.Stop()
	for before := accounts(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if now := accounts(); now != before {
				before = now
				collectAt(now)
			}
		}
	}
}
