//go:build linux && (amd64 || arm64)

// Command bench measures the server beside its peers, each pair in one run on
// one machine, and reports ratios:
//
//	go run ./test/bench dns        server CPU per query and saturation
//	go run ./test/bench storage    durable updates and registrations a second
//	go run ./test/bench memory     resident memory and start time
//	go run ./test/bench import     time and memory of an import from acme-dns
//
// Peers are an echo server, the limit of what a UDP server can do here, and
// Knot and NSD where they are installed. All traffic stays on loopback.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// settings are the flags of all benchmarks.
type settings struct {
	names    int
	large    int
	rate     int
	duration time.Duration
	clients  int
}

func main() {
	var s settings
	flag.IntVar(&s.names, "names", 10_000, "registered names, for dns; the smaller number, for memory, is a tenth of it")
	flag.IntVar(&s.large, "large", 1_000_000, "registered names of the large run of memory, and for import")
	flag.IntVar(&s.rate, "rate", 20_000, "queries a second at which CPU per query is measured")
	flag.DurationVar(&s.duration, "duration", 5*time.Second, "length of each measurement")
	flag.IntVar(&s.clients, "clients", 64, "concurrent API clients, for storage")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: go run ./test/bench [flags] dns|storage|memory|import")
		flag.PrintDefaults()
	}
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	runs := map[string]func(context.Context, settings) error{
		"dns": benchDNS, "storage": benchStorage, "memory": benchMemory, "import": benchImport,
		// Peers that this program is itself, in a process of their own.
		"echo-server": echoServer, "bare-api": bareAPI, "old-database": oldDatabase,
	}
	run, ok := runs[flag.Arg(0)]
	if !ok {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
