package dnsserver

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// conn is a TCP connection of a client.
type conn struct {
	net.Conn
	addr   netip.AddrPort
	client netip.Prefix  // what MaxConnsPerClient counts
	used   atomic.Uint64 // the tick of the set's clock at the last whole message
	set    *connSet

	users  atomic.Int32 // goroutines
	ending atomic.Bool
}

// run serves the connection in one more goroutine. It is closed after the last of them.
func (c *conn) run(serve func()) {
	c.users.Add(1)
	c.set.running.Go(func() {
		defer func() {
			if c.users.Add(-1) == 0 {
				c.set.remove(c)
			}
		}()
		serve()
	})
}

// end lets nothing more be read. Like drain, it wakes who waits for a message.
func (c *conn) end() {
	c.ending.Store(true)
	c.SetReadDeadline(past)
}

// toEnd says whether nothing more is to be read. It is asked after a deadline was set, so that none can sleep through it.
func (c *conn) toEnd() bool { return c.ending.Load() || c.set.draining.Load() }

// touch notes that the connection brought a whole message. Single octets do not count, so that a client who trickles
// them is the first to be closed.
func (c *conn) touch() { c.used.Store(c.set.clock.Add(1)) }

// connSet is the TCP connections of a server, with a bound on their number. There is always room for one more.
type connSet struct {
	max          int
	maxPerClient int
	clock        atomic.Uint64 // counts messages: to know which came first, the time does not matter
	draining     atomic.Bool

	running sync.WaitGroup // goroutines of connections

	mu        sync.Mutex
	conns     map[*conn]struct{}
	perClient map[netip.Prefix]int
}

func newConnSet(max, maxPerClient int) *connSet {
	return &connSet{
		max:          max,
		maxPerClient: maxPerClient,
		conns:        make(map[*conn]struct{}),
		perClient:    make(map[netip.Prefix]int),
	}
}

// start adds a connection and runs serve for it. If there are too many, the one that has been idle the longest is closed:
// of the same client, if that has more than its share.
func (s *connSet) start(netConn net.Conn, serve func(*conn)) {
	c := &conn{Conn: netConn, set: s}
	if tcp, ok := netConn.RemoteAddr().(*net.TCPAddr); ok {
		addr := tcp.AddrPort()
		c.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		c.client = clientPrefix(c.addr.Addr())
	}
	c.touch()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		netConn.Close()
		return
	}
	if s.perClient[c.client] >= s.maxPerClient {
		s.dropIdlest(func(o *conn) bool { return o.client == c.client })
	} else if len(s.conns) >= s.max {
		s.dropIdlest(func(*conn) bool { return true })
	}
	s.conns[c] = struct{}{}
	s.perClient[c.client]++
	c.run(func() { serve(c) })
}

// clientPrefix is what counts as one client: a customer's network, in IPv6, has 2^64 addresses and more.
func clientPrefix(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.WithZone("").Prefix(bits)
	return prefix
}

// dropIdlest closes the connection that has been without a message the longest, of those that match. s.mu is held.
func (s *connSet) dropIdlest(match func(*conn) bool) {
	var idlest *conn
	for c := range s.conns {
		if match(c) && (idlest == nil || c.used.Load() < idlest.used.Load()) {
			idlest = c
		}
	}
	if idlest != nil {
		s.forget(idlest)
		idlest.Close()
	}
}

// makeRoom closes one connection, when the process has run out of file descriptors.
func (s *connSet) makeRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropIdlest(func(*conn) bool { return true })
}

func (s *connSet) remove(c *conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(c)
}

// forget takes c out of the books, once. s.mu is held.
func (s *connSet) forget(c *conn) {
	if _, ok := s.conns[c]; !ok {
		return
	}
	delete(s.conns, c)
	if s.perClient[c.client]--; s.perClient[c.client] == 0 {
		delete(s.perClient, c.client)
	}
}

// drain lets no more connections in, and ends the others once they have answered what they have read.
func (s *connSet) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining.Store(true)
	for c := range s.conns {
		c.SetReadDeadline(past)
	}
}

func (s *connSet) wait() { s.running.Wait() }
