//go:build unix

package main

import "golang.org/x/sys/unix"

// openFiles returns how many files the process may have open, or 0 where that is
// not known.
func openFiles() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Cur)
}
