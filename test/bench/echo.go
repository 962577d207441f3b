//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// echoServer sends every datagram back with the QR bit set: what a server costs
// that does nothing but receive and send, in batches, on one socket a core. It
// prints its port, and runs until it is killed.
func echoServer(context.Context, settings) error {
	port := 0
	failed := make(chan error)
	for range runtime.GOMAXPROCS(0) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
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

func echo(fd int) error {
	b := newBatch(true)
	for {
		n, err := b.receive(fd)
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
			b.setLen(i, len(m))
		}
		if err := b.send(fd, n); err != nil && err != unix.ECONNREFUSED {
			return err
		}
	}
}
