package main

import (
	"os"
	"runtime"
)

// spareThreads lets all else run beside the readers of UDP, of which there is one
// for each core, and each keeps a P of the scheduler to itself while queries come
// in (see dnsserver.Server.Serve). Who sets GOMAXPROCS decides for himself.
func spareThreads() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
}
