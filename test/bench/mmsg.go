//go:build linux && (amd64 || arm64)

package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const batchSize = 16

// mmsghdr is struct mmsghdr of recvmmsg(2) on a 64-bit machine.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   uint32
}

// batch is a set of datagrams that go through one system call. Its memory is
// reused; it is not safe for concurrent use.
type batch struct {
	headers [batchSize]mmsghdr
	vectors [batchSize]unix.Iovec
	buffers [batchSize][2048]byte
	peers   [batchSize]unix.RawSockaddrInet6
}

// newBatch makes a batch; withPeers keeps the addresses of senders, which a
// connected socket does not need.
func newBatch(withPeers bool) *batch {
	b := &batch{}
	for i := range b.headers {
		b.vectors[i].Base = &b.buffers[i][0]
		b.headers[i].hdr.Iov = &b.vectors[i]
		b.headers[i].hdr.SetIovlen(1)
		if withPeers {
			b.headers[i].hdr.Name = (*byte)(unsafe.Pointer(&b.peers[i]))
		}
	}
	return b
}

// receive waits for one datagram and takes what else is there.
func (b *batch) receive(fd int) (int, error) {
	for i := range b.headers {
		b.vectors[i].SetLen(len(b.buffers[i]))
		if b.headers[i].hdr.Name != nil {
			b.headers[i].hdr.Namelen = unix.SizeofSockaddrInet6
		}
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers)), batchSize, unix.MSG_WAITFORONE, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// message returns datagram i as it was received.
func (b *batch) message(i int) []byte { return b.buffers[i][:b.headers[i].len] }

// setLen sets the size of datagram i before it is sent.
func (b *batch) setLen(i, n int) { b.vectors[i].SetLen(n) }

// send sends the first n datagrams.
func (b *batch) send(fd, n int) error {
	for sent := 0; sent < n; {
		m, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[sent])), uintptr(n-sent), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return errno
		}
		sent += int(m)
	}
	return nil
}
