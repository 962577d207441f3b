package httpapi

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// connSet bounds the connections of a server, in all and of one client, so that
// nobody can take them all. A connection too many costs the one that has been
// idle the longest, of the same client or of all, or itself where none is idle.
// It is safe for concurrent use.
type connSet struct {
	max, maxPerClient int

	mu      sync.Mutex
	conns   map[net.Conn]*connInfo
	clients map[netip.Prefix]int
}

type connInfo struct {
	client    netip.Prefix
	idleSince time.Time // zero while a request is under way
}

func newConnSet(max, maxPerClient int) *connSet {
	return &connSet{
		max: max, maxPerClient: maxPerClient,
		conns: make(map[net.Conn]*connInfo), clients: make(map[netip.Prefix]int),
	}
}

// observe is the ConnState hook of an http.Server.
func (s *connSet) observe(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.add(conn)
	case http.StateActive:
		if info := s.conns[conn]; info != nil {
			info.idleSince = time.Time{}
		}
	case http.StateIdle:
		if info := s.conns[conn]; info != nil {
			info.idleSince = time.Now()
		}
	case http.StateClosed, http.StateHijacked:
		s.remove(conn)
	}
}

func (s *connSet) add(conn net.Conn) {
	info := &connInfo{client: clientPrefix(conn), idleSince: time.Now()}
	s.conns[conn] = info
	s.clients[info.client]++
	if s.clients[info.client] > s.maxPerClient {
		s.drop(conn, func(i *connInfo) bool { return i.client == info.client })
	} else if len(s.conns) > s.max {
		s.drop(conn, func(*connInfo) bool { return true })
	}
}

// drop closes the connection that has been idle the longest among those that
// match, newest excepted, or newest itself. It looks at all of them: that is
// done only when a bound is reached.
func (s *connSet) drop(newest net.Conn, match func(*connInfo) bool) {
	victim, since := newest, time.Now()
	for conn, info := range s.conns {
		if conn != newest && !info.idleSince.IsZero() && info.idleSince.Before(since) && match(info) {
			victim, since = conn, info.idleSince
		}
	}
	s.remove(victim)
	// Not Close of a TLS connection, which would wait for the client.
	if t, ok := victim.(*tls.Conn); ok {
		victim = t.NetConn()
	}
	_ = victim.Close()
}

func (s *connSet) remove(conn net.Conn) {
	info := s.conns[conn]
	if info == nil {
		return
	}
	delete(s.conns, conn)
	if s.clients[info.client]--; s.clients[info.client] == 0 {
		delete(s.clients, info.client)
	}
}

// clientPrefix returns what counts as one client: an IPv4 address, or the /64 of
// an IPv6 address, which one machine usually has to itself.
func clientPrefix(conn net.Conn) netip.Prefix {
	ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits)
	return prefix
}
