//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// quiet is the share of the machine that others may use before a figure is
// marked: what they take, the server and the load cannot have.
const quiet = 0.05

// machine is how long all its cores together had been idle at one moment.
type machine struct {
	at    time.Time
	idle  time.Duration
	cores int
}

func readMachine() (machine, error) {
	m := machine{at: time.Now(), cores: runtime.NumCPU()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m, err
	}
	// cpu user nice system idle iowait …, in ticks of 10 ms: proc(5).
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[0] != "cpu" {
		return m, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for _, field := range fields[4:6] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return m, fmt.Errorf("/proc/stat: %w", err)
		}
		m.idle += time.Duration(n) * 10 * time.Millisecond
	}
	return m, nil
}

// since returns the shares of the machine that were idle since before, and that
// neither were nor are in ours: those of other processes and of the host.
func (m machine) since(before machine, ours time.Duration) (idle, others float64) {
	all := float64(m.at.Sub(before.at)) * float64(m.cores)
	idle = float64(m.idle-before.idle) / all
	return idle, max(0, 1-idle-float64(ours)/all)
}

// awaitQuiet waits until the machine has been quiet for a moment, but not longer
// than limit.
func awaitQuiet(ctx context.Context, limit time.Duration) error {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		before, err := readMachine()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
		after, err := readMachine()
		if err != nil {
			return err
		}
		if idle, _ := after.since(before, 0); idle > 1-quiet {
			return nil
		}
	}
	return nil
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
