//go:build linux && (amd64 || arm64)

// Command bench measures the server beside its peers, all in one run on one
// machine, and reports ratios. All traffic stays on loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: go run ./test/bench <benchmark> [flags]

Measures cnamed beside its peers, all in one run on one machine, and reports
ratios. Rounds are short and interleaved.

  dns        server CPU per UDP query at a rate and at saturation, with -names
             and with -large names
  mix        the same for a mix of absent names, other types and random case,
             against plain questions
  scale      the same with -large names, against -small
  updates    latency on the wire at half of saturation and at -rate, while values
             change over the API, and a check that no answer is older than its
             update
  storage    durable updates and registrations a second, with -small accounts
             and with -large ones
  memory     resident memory and start time, with few names and many
  import     time and memory of an import from acme-dns, of -large accounts
  postgres   updates of three servers on one PostgreSQL, and the start of one
             more with -large accounts
  pgo        measures nothing: makes cmd/cnamed/default.pgo, by which the
             compiler optimizes the server

Peers for DNS are an echo server, which is the limit of what a UDP server can do
here, Knot and NSD (apt-get install knot nsd), and CoreDNS (built here).

Examples:
  go run ./test/bench dns
  go run ./test/bench dns -large 0 -targets echo,knot,cnamed -rounds 3 -duration 1s
  go run ./test/bench mix -rounds 7 -wait 1m
  go run ./test/bench scale -targets cnamed
  go run ./test/bench dns -large 0 -targets cnamed -profile /tmp/profiles
  go run ./test/bench updates -updates 2000 -targets echo,knot,cnamed
  go run ./test/bench pgo -duration 10s

Flags:
`

// settings are the flags of all benchmarks.
type settings struct {
	names    int
	small    int
	large    int
	rate     int
	rounds   int
	retries  int
	wait     time.Duration
	duration time.Duration
	targets  []string
	accounts int
	updates  int
	clients  int
	profile  string
	serve    []string
}

// spareThreads lets a goroutine on each core wait in a raw system call (see
// batch) without keeping the others from running.
func spareThreads() { runtime.GOMAXPROCS(2*runtime.NumCPU() + 1) }

func main() {
	spareThreads()
	// Who reads only the head of the report must not leave the servers running.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		for _, hint := range hints(err) {
			fmt.Fprintln(os.Stderr, "bench: hint:", hint)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	s := settings{targets: targetNames}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&s.names, "names", 10_000, "registered names; for memory, the smaller number is a tenth of it")
	flags.IntVar(&s.small, "small", 1000, "registered names of the small side of scale and storage; 0: none, for storage")
	flags.IntVar(&s.large, "large", 1_000_000, "registered names of the large runs; 0: none, for dns and storage")
	flags.IntVar(&s.rate, "rate", 20_000, "questions a second at which CPU per query is measured, and latency, if it is below half of saturation")
	flags.IntVar(&s.rounds, "rounds", 5, "how often each server is measured")
	flags.IntVar(&s.retries, "retries", 2, "how often a measurement is repeated in which others had more than 5 % of the machine")
	flags.DurationVar(&s.wait, "wait", 0, "how long each measurement waits for a machine on which nothing else runs")
	flags.DurationVar(&s.duration, "duration", 2*time.Second, "length of each measurement")
	flags.Func("targets", "servers, of "+strings.Join(targetNames, ",")+" (default all)", func(text string) error {
		s.targets = strings.Split(text, ",")
		return nil
	})
	flags.IntVar(&s.accounts, "accounts", 100_000, "registered names, for updates")
	flags.IntVar(&s.updates, "updates", 2000, "updates a second, for updates")
	flags.IntVar(&s.clients, "clients", 64, "concurrent API clients, for storage and updates")
	flags.StringVar(&s.profile, "profile", "", "folder for CPU profiles of cnamed, taken after the rounds of dns, mix, scale, updates and storage")
	flags.Func("serve", "more flags for cnamed serve, separated by blanks", func(text string) error {
		s.serve = append(s.serve, strings.Fields(text)...)
		return nil
	})
	flags.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flags.PrintDefaults()
	}

	runs := map[string]func(context.Context, settings) error{
		"dns": benchDNS, "mix": benchMix, "scale": benchScale, "updates": benchUpdates,
		"storage": benchStorage, "memory": benchMemory, "import": benchImport, "postgres": benchPostgres, "pgo": profileGuide,
		// Peers that this program is itself, in a process of their own.
		"echo-server": echoServer, "bare-api": bareAPI, "old-database": oldDatabase,
	}
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		os.Exit(2) // it has been said
	}
	bench, ok := runs[name]
	if !ok || flags.NArg() > 0 {
		flags.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return bench(ctx, s)
}

// hintedError is an error with what mends it.
type hintedError struct {
	error
	hint string
}

func hinted(err error, hint string) error { return &hintedError{err, hint} }

func (e *hintedError) Unwrap() error { return e.error }

// hints are those of an error and of all that it joins.
func hints(err error) (all []string) {
	switch e := err.(type) {
	case *hintedError:
		return []string{e.hint}
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			all = append(all, hints(part)...)
		}
	case interface{ Unwrap() error }:
		return hints(e.Unwrap())
	}
	return all
}

func without(list []string, name string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == name }), ",")
}
