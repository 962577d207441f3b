package main

import (
	"os"
	"runtime/debug"
)

// largeIndex accounts take some 20 MB.
const largeIndex = 100_000

// saveMemory has the garbage collector let the heap grow to a third more than
// what is in use, not to twice as much. Most of a large server's memory is the
// index of the registry, in which there is next to nothing to look at, so that
// it costs no time that can be measured. A small server, which has less to save,
// goes back to the default. Who sets GOGC decides for himself.
func saveMemory(on bool) {
	switch {
	case os.Getenv("GOGC") != "":
	case on:
		debug.SetGCPercent(30)
	default:
		debug.SetGCPercent(100)
	}
}
