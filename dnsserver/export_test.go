package dnsserver

import (
	"net/netip"
	"time"
)

// ClientPrefix is what counts as one client.
var ClientPrefix = clientPrefix

// CloseListeners closes the TCP half of an endpoint.
func CloseListeners(e *Endpoint) {
	for _, l := range e.listeners {
		l.Close()
	}
}

// Limiter is the table of rate limits.
type Limiter = limiter

// NewLimiter makes one.
var NewLimiter = newLimiter

// Admit counts a reply.
func (l *limiter) Admit(addr netip.Addr, now time.Time) (bits int, ok bool) {
	return l.admit(addr, now)
}
