//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// answerSize is by how much the answer to the plain question is larger than the
// question: two TXT records with values of 43 characters and compressed owners.
const answerSize = 2 * 56

// echoServer sends every datagram back with the QR bit set, as large as the
// answer would be: what a server costs that does nothing but receive and send,
// in batches, on one socket and thread a core. It prints its port, and runs
// until it is killed.
func echoServer(context.Context, settings) error {
	debug.SetGCPercent(-1)
	cores := runtime.NumCPU()
	port := 0
	failed := make(chan error)
	for range cores {
		fd, err := echoSocket(port)
		if err != nil {
			return err
		}
		address, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		port = address.(*unix.SockaddrInet4).Port
		go func() { failed <- echo(fd) }()
	}
	fmt.Fprintln(os.Stdout, port)
	return <-failed
}

func echoSocket(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, err
	}
	// As the name servers do.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20); err != nil {
		return 0, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

func echo(fd int) error {
	runtime.LockOSThread()
	b := newBatch().keepPeers()
	for {
		n, err := b.receive(fd, unix.MSG_WAITFORONE)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for i := range n {
			m := b.message(i)
			if len(m) > 2 {
				m[2] |= 0x80
			}
			b.setLen(i, len(m)+answerSize)
		}
		if err := b.send(fd, n); err != nil && err != unix.ECONNREFUSED {
			return err
		}
	}
}
