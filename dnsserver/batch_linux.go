package dnsserver

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many datagrams go through one system call. Nearly all that can be gained is gained with it.
const batchSize = 16

// linger is how long a reader that has nothing to do waits by itself before it is parked. In the midst of a burst the
// next datagram comes sooner, and to park a goroutine and to wake it costs more than a datagram.
const linger = 100 * time.Microsecond

// batch is packets by recvmmsg(2) and sendmmsg(2). These never block: while there is nothing to do for longer than linger
// the goroutine is parked with the poller of the Go runtime, as in all network code. All memory is its own and is reused.
type batch struct {
	raw   syscall.RawConn
	read  func(fd uintptr) (done bool)
	write func(fd uintptr) (done bool)
	errno syscall.Errno // of the last call

	received int
	in       [batchSize]mmsghdr
	requests [batchSize][]byte
	vectors  [batchSize]unix.Iovec
	peers    [batchSize]unix.RawSockaddrInet6 // the larger of both families
	controls [batchSize]controlBuffer
	poll     unix.PollFd
	timeout  unix.Timespec

	queued, sent int
	out          [batchSize]mmsghdr
	replies      [batchSize]unix.Iovec
	rooms        [batchSize][]byte
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// controlBuffer has room for what tells the address of both families, at the alignment of struct cmsghdr.
type controlBuffer [16]uint64

func newPackets(socket *packetSocket) (packets, error) {
	if socket.single {
		return newSingle(socket), nil
	}
	raw, err := socket.conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{raw: raw}
	b.read, b.write = b.tryReceive, b.trySend
	// Pages that no datagram has reached yet are no memory.
	requests, rooms := make([]byte, batchSize*maxMessage), make([]byte, batchSize*replyRoom)
	for i := range batchSize {
		b.requests[i] = requests[i*maxMessage:][:maxMessage]
		b.rooms[i] = rooms[i*replyRoom:][:replyRoom:replyRoom]
		b.vectors[i].Base = &b.requests[i][0]
		b.vectors[i].SetLen(maxMessage)
		hdr := &b.in[i].hdr
		hdr.Iov, hdr.Name = &b.vectors[i], (*byte)(unsafe.Pointer(&b.peers[i]))
		hdr.SetIovlen(1)
		if socket.wildcard {
			hdr.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
		}
		b.out[i].hdr.Iov = &b.replies[i]
		b.out[i].hdr.SetIovlen(1)
	}
	return b, nil
}

func (b *batch) receive() (n int, err error) {
	for i := range b.in {
		hdr := &b.in[i].hdr
		hdr.Namelen = unix.SizeofSockaddrInet6
		if hdr.Control != nil {
			hdr.SetControllen(int(unsafe.Sizeof(b.controls[i])))
		}
	}
	b.queued = 0
	if err := b.raw.Read(b.read); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, b.errno
	}
	return b.received, nil
}

func (b *batch) tryReceive(fd uintptr) (done bool) {
	b.received, b.errno = mmsg(unix.SYS_RECVMMSG, fd, b.in[:])
	if b.errno == unix.EAGAIN && b.wait(fd) {
		b.received, b.errno = mmsg(unix.SYS_RECVMMSG, fd, b.in[:])
	}
	return b.errno != unix.EAGAIN
}

// wait says whether there is something to read before linger is over. The runtime knows of this system call, and can
// have other goroutines run meanwhile.
func (b *batch) wait(fd uintptr) bool {
	b.poll = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	b.timeout = unix.NsecToTimespec(linger.Nanoseconds())
	n, _, errno := syscall.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&b.poll)), 1, uintptr(unsafe.Pointer(&b.timeout)), 0, 0, 0)
	return errno == 0 && n > 0
}

func (b *batch) request(i int) (request []byte, client netip.AddrPort) {
	return b.requests[i][:b.in[i].len], addrPort(&b.peers[i])
}

func (b *batch) room(int) []byte { return b.rooms[b.queued] }

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
}

func (b *batch) send() (failed int, err error) {
	for b.sent = 0; b.sent < b.queued; {
		if err := b.raw.Write(b.write); err != nil {
			return b.queued - b.sent, err
		}
		if b.errno != 0 {
			// It is about the first of those that are left. The others can have more luck.
			failed, err = failed+1, b.errno
			b.sent++
		}
	}
	return failed, err
}

func (b *batch) trySend(fd uintptr) (done bool) {
	var n int
	n, b.errno = mmsg(unix.SYS_SENDMMSG, fd, b.out[b.sent:b.queued])
	b.sent += n
	return b.errno != unix.EAGAIN
}

// mmsg moves datagrams, and returns how many.
func mmsg(call, fd uintptr, headers []mmsghdr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
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
