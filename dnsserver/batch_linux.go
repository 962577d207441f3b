package dnsserver

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many datagrams go through one system call. Nearly all that can be gained is gained with it.
const batchSize = 32

// requestStride is the distance of two buffers of requests. At a power of two, or close to it, the first octets of all would
// compete for the same few lines of the processor's cache.
const requestStride = maxMessage + 1 + 5*64

// quiet is how long a reader waits in recvmmsg(2) before it takes the way of those who have nothing to do, see receive.
const quiet = 10 * time.Millisecond

// batchSource is a socket that is read and written by recvmmsg(2) and sendmmsg(2), in calls that block the thread, so that a
// query that comes alone costs two of them. It is out of sight of the poller of the Go runtime, which would wake another
// thread for each datagram, though nobody waits for it there.
type batchSource struct {
	fd       int
	ended    int // an eventfd(2), readable once the readers are to end
	closed   atomic.Bool
	wildcard bool
}

// newBatchSource takes the place of the connection of p, and closes it.
func newBatchSource(p *packetSocket) (packetSource, error) {
	s := &batchSource{fd: -1, wildcard: p.wildcard}
	err := control(p.conn, func(fd int) (err error) {
		s.fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	if s.ended, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, errors.Join(err, unix.Close(s.fd))
	}
	if err := s.block(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, p.conn.Close()
}

// block makes calls block, but not for long: a reader has to notice the end of the server, and a reply that the system
// does not take in time is lost.
func (s *batchSource) block() error {
	if err := unix.SetNonblock(s.fd, false); err != nil {
		return err
	}
	receive, send := unix.NsecToTimeval(quiet.Nanoseconds()), unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &receive); err != nil {
		return err
	}
	return unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &send)
}

func (s *batchSource) interrupt() { unix.Write(s.ended, []byte{0, 0, 0, 0, 0, 0, 0, 1}) }

// Close closes the descriptors once: afterwards their numbers are those of other files.
func (s *batchSource) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	return errors.Join(unix.Close(s.fd), unix.Close(s.ended))
}

// batch is packets of a batchSource. All memory is its own and is reused.
type batch struct {
	socket *batchSource

	in       [batchSize]mmsghdr
	requests [batchSize][]byte
	vectors  [batchSize]unix.Iovec
	peers    [batchSize]unix.RawSockaddrInet6 // the larger of both families
	controls [batchSize]controlBuffer
	polls    [2]unix.PollFd

	queued  int
	out     [batchSize]mmsghdr
	replies [batchSize]unix.Iovec
	space   []byte // of the replies, one behind the other
	used    int    // of space
}

// replyAlign keeps replies from sharing a line of the processor's cache.
const replyAlign = 64

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// controlBuffer has room for what tells the address of both families, at the alignment of struct cmsghdr.
type controlBuffer [16]uint64

func (s *batchSource) packets() packets {
	b := &batch{socket: s, polls: [2]unix.PollFd{
		{Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(s.ended), Events: unix.POLLIN},
	}}
	// Pages that no datagram has reached yet are no memory.
	requests := make([]byte, batchSize*requestStride)
	b.space = make([]byte, batchSize*(replyRoom+replyAlign))
	for i := range batchSize {
		b.requests[i] = requests[i*requestStride:][:maxMessage]
		b.vectors[i].Base = &b.requests[i][0]
		b.vectors[i].SetLen(maxMessage)
		hdr := &b.in[i].hdr
		hdr.Iov, hdr.Name = &b.vectors[i], (*byte)(unsafe.Pointer(&b.peers[i]))
		hdr.SetIovlen(1)
		if s.wildcard {
			hdr.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
		}
		b.out[i].hdr.Iov = &b.replies[i]
		b.out[i].hdr.SetIovlen(1)
	}
	return b
}

func (b *batch) receive() (n int, err error) {
	for i := range b.in {
		hdr := &b.in[i].hdr
		hdr.Namelen = unix.SizeofSockaddrInet6
		if hdr.Control != nil {
			hdr.SetControllen(int(unsafe.Sizeof(b.controls[i])))
		}
	}
	b.queued, b.used = 0, 0
	// In the midst of traffic the runtime does not hear that the thread waits: to tell it would cost as much as the answer,
	// for the thread then loses its P and has to find another. It can have it back whenever it needs to: by a signal, with
	// which recvmmsg ends as it has a time-out. While nothing comes in, the thread waits in a call that the runtime knows of.
	for {
		n, errno := mmsg(unix.SYS_RECVMMSG, b.socket.fd, b.in[:], unix.MSG_WAITFORONE)
		switch errno {
		case 0:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			if err := b.wait(); err != nil {
				return 0, err
			}
		default:
			return 0, errno
		}
	}
}

// wait returns when there is something to read, or an error at the end of the server.
func (b *batch) wait() error {
	_, err := unix.Poll(b.polls[:], -1)
	if b.polls[1].Revents != 0 {
		return net.ErrClosed
	}
	if err == unix.EINTR {
		return nil
	}
	return err
}

func (b *batch) request(i int) (request []byte, client netip.AddrPort) {
	return b.requests[i][:b.in[i].len], addrPort(&b.peers[i])
}

// room is as close behind the reply before as can be, so that a batch touches few pages.
func (b *batch) room(int) []byte { return b.space[b.used:][:replyRoom:replyRoom] }

func (b *batch) reply(i int, reply []byte) {
	b.replies[b.queued].Base = &reply[0]
	b.replies[b.queued].SetLen(len(reply))
	hdr := &b.out[b.queued].hdr
	hdr.Name, hdr.Namelen = b.in[i].hdr.Name, b.in[i].hdr.Namelen
	hdr.Control = nil
	hdr.SetControllen(0)
	if b.in[i].hdr.Control != nil {
		b.controls[i].returnTo(hdr, int(b.in[i].hdr.Controllen))
	}
	b.queued++
	b.used += (min(len(reply), replyRoom) + replyAlign - 1) &^ (replyAlign - 1)
}

func (b *batch) send() (failed int, err error) {
	for sent := 0; sent < b.queued; {
		n, errno := mmsg(unix.SYS_SENDMMSG, b.socket.fd, b.out[sent:b.queued], 0)
		if errno == unix.EINTR {
			continue
		}
		if sent += n; errno != 0 {
			// It is about the first of those that are left. The others can have more luck.
			failed, err = failed+1, errno
			sent++
		}
	}
	return failed, err
}

// mmsg moves datagrams, and returns how many. That it is called is what lets the runtime take the thread after EINTR.
//
//go:noinline
func mmsg(call uintptr, fd int, headers []mmsghdr, flags uintptr) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// addrPort reads an address of either family. An IPv6 address comes without its zone, which the reply has no need of:
// it goes to the address as it came.
func addrPort(peer *unix.RawSockaddrInet6) netip.AddrPort {
	if peer.Family == unix.AF_INET {
		peer := (*unix.RawSockaddrInet4)(unsafe.Pointer(peer))
		return netip.AddrPortFrom(netip.AddrFrom4(peer.Addr), ntohs(peer.Port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(peer.Addr).Unmap(), ntohs(peer.Port))
}

// ntohs reads a port, which is in the order of the network.
func ntohs(port uint16) uint16 {
	octets := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(octets[0])<<8 | uint16(octets[1])
}

// returnTo makes a reply leave from the address that the control messages of its request name, of which there are size
// octets: they are handed back, but for the interface, see sourceOf. What else was received with them, by the wish of
// who made an inherited socket, stays behind.
func (c *controlBuffer) returnTo(hdr *unix.Msghdr, size int) {
	start := unsafe.Pointer(c)
	for at := 0; at+unix.SizeofCmsghdr <= size; {
		message := (*unix.Cmsghdr)(unsafe.Add(start, at))
		end := at + int(message.Len)
		if int(message.Len) < unix.SizeofCmsghdr || end > size {
			return
		}
		data := unsafe.Add(start, at+unix.CmsgLen(0))
		switch {
		case message.Level == unix.IPPROTO_IPV6 && message.Type == unix.IPV6_PKTINFO:
			(*unix.Inet6Pktinfo)(data).Ifindex = 0
		case message.Level == unix.IPPROTO_IP && message.Type == unix.IP_PKTINFO:
			(*unix.Inet4Pktinfo)(data).Ifindex = 0
		default:
			at += unix.CmsgSpace(int(message.Len) - unix.CmsgLen(0))
			continue
		}
		hdr.Control = (*byte)(unsafe.Pointer(message))
		hdr.SetControllen(end - at)
		return
	}
}
