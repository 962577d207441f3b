//go:build linux && (amd64 || arm64)

package main

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many datagrams one system call moves at most. From 16 on
// there was no difference.
const batchSize = 32

// mmsghdr is struct mmsghdr of recvmmsg(2) on a 64-bit machine.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   uint32
}

// batch is a set of datagrams that go through one system call. Its memory is
// reused; it is not safe for concurrent use.
//
// The calls are raw: Go's scheduler does not learn that the thread waits, so
// that the cost is that of the calls, as in a program in C. See spareThreads.
type batch struct {
	headers [batchSize]mmsghdr
	vectors [batchSize]unix.Iovec
	buffers [batchSize][2048]byte
	peers   [batchSize]unix.RawSockaddrInet4
	control [batchSize][128]byte
}

// newBatch makes a batch that keeps nothing but the datagrams.
func newBatch() *batch {
	b := &batch{}
	for i := range b.headers {
		b.vectors[i].Base = &b.buffers[i][0]
		b.headers[i].hdr.Iov = &b.vectors[i]
		b.headers[i].hdr.SetIovlen(1)
	}
	return b
}

// keepPeers has the batch keep the addresses of senders, and send to them.
func (b *batch) keepPeers() *batch {
	for i := range b.headers {
		b.headers[i].hdr.Name = (*byte)(unsafe.Pointer(&b.peers[i]))
		b.headers[i].hdr.Namelen = unix.SizeofSockaddrInet4
	}
	return b
}

// keepTimes has the batch keep when datagrams went through the wire, for a socket
// with stampBoth.
func (b *batch) keepTimes() *batch {
	for i := range b.headers {
		b.headers[i].hdr.Control = &b.control[i][0]
	}
	return b
}

// receive takes the datagrams that are there; with MSG_WAITFORONE it waits for
// the first.
func (b *batch) receive(fd int, flags uintptr) (int, error) {
	for i := range b.headers {
		b.vectors[i].SetLen(len(b.buffers[i]))
		if b.headers[i].hdr.Control != nil {
			b.headers[i].hdr.SetControllen(len(b.control[i]))
		}
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers)), batchSize, flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// message returns datagram i as it was received.
func (b *batch) message(i int) []byte { return b.buffers[i][:b.headers[i].len] }

// stampBoth has the kernel say when it took a datagram from the wire, with the
// datagram, and when it gave one to it, in the error queue.
const stampBoth = unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_TX_SOFTWARE |
	unix.SOF_TIMESTAMPING_OPT_ID | unix.SOF_TIMESTAMPING_OPT_TSONLY

// stamp returns when datagram i went through the wire, in nanoseconds of
// CLOCK_REALTIME, or 0, and of one from the error queue how many the socket had
// sent before it.
func (b *batch) stamp(i int) (at int64, number uint32) {
	for c := b.control[i][:b.headers[i].hdr.Controllen]; len(c) >= unix.SizeofCmsghdr; {
		size := int(binary.NativeEndian.Uint64(c))
		if size < unix.SizeofCmsghdr || size > len(c) {
			break
		}
		level, kind, data := binary.NativeEndian.Uint32(c[8:]), binary.NativeEndian.Uint32(c[12:]), c[unix.SizeofCmsghdr:size]
		switch {
		case len(data) < 16: // cut short
		case level == unix.SOL_SOCKET && kind == unix.SCM_TIMESTAMPING: // struct timespec, three times
			at = int64(binary.NativeEndian.Uint64(data))*1e9 + int64(binary.NativeEndian.Uint64(data[8:]))
		case level == unix.SOL_IP && kind == unix.IP_RECVERR: // struct sock_extended_err
			number = binary.NativeEndian.Uint32(data[12:])
		}
		c = c[min(len(c), (size+7)&^7):]
	}
	return at, number
}

// setLen sets the size of datagram i before it is sent.
func (b *batch) setLen(i, n int) { b.vectors[i].SetLen(n) }

// send sends the first n datagrams.
func (b *batch) send(fd, n int) error {
	for sent := 0; sent < n; {
		m, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[sent])), uintptr(n-sent), 0, 0, 0)
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
