// Package dnsserver is an authoritative DNS server for zones of static records, and of names one label below the origin
// whose TXT records change all the time and come from Names.
//
// It answers from memory, over UDP and TCP, and promises to say what the zone holds, or that it cannot tell: a name that
// cannot be looked up now is SERVFAIL, never NXDOMAIN. It reads no database and no file, and knows neither accounts nor
// the HTTP API. It does not resolve: what is outside of its zones is REFUSED.
//
// The wire format is that of miekg/dns, but for the question that nearly all clients have, about a name of Names: it is
// answered from octets to octets, without allocation. The transports are our own, so that no goroutine and little memory
// is spent on a query, and so that the number of connections has a bound.
package dnsserver

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Server answers the queries of its zones. Zones must be set. A Server must not be copied or changed once it is used.
// Its methods are safe for concurrent use.
type Server struct {
	Zones *ZoneSet
	// Keys are those with which clients may sign their requests (TSIG), and get the replies signed. Nil: none.
	Keys *Keyring
	// Log gets each query at the level Debug, if it takes that at the first query, and trouble above it. Nil discards.
	Log *slog.Logger
	// Observe is told of every request, if set. It is called from many goroutines at once, and must be quick.
	Observe func(Observation)

	// MaxConns bounds the TCP connections of all endpoints together. To make room for one more, the one that has been
	// without a query the longest is closed. Zero: 1024.
	MaxConns int
	// MaxConnsPerClient bounds, in the same way, the connections of one IPv4 address or IPv6 /64 prefix. Zero: 128.
	MaxConnsPerClient int
	// IdleTimeout is how long a connection may be silent between messages, RFC 7766 §6.2.3. Zero: 10 seconds.
	IdleTimeout time.Duration
	// MessageTimeout is how long a message may take to arrive once it has begun. Zero: 2 seconds.
	MessageTimeout time.Duration
	// WriteTimeout is how long a client may take to accept replies. Zero: 5 seconds.
	WriteTimeout time.Duration

	// CookieSecrets are those of DNS cookies, RFC 7873. The first makes them; one made by another is taken, and replaced.
	// Empty: one is drawn, so that a restart makes clients learn new cookies. NoCookies ignores cookies.
	CookieSecrets []CookieSecret
	NoCookies     bool
	// RateLimit bounds the replies over UDP. Zero: no bound.
	RateLimit RateLimit
	// NSID is what this server tells who asks for its identifier, RFC 5001. Empty: nothing.
	NSID string
	// Version and Identity are what version.server and version.bind, id.server and hostname.bind say in the class CHAOS,
	// RFC 4892. Empty: REFUSED.
	Version, Identity string
	// Now is the clock of cookies, of signatures and of RateLimit. Nil: time.Now.
	Now func() time.Time

	// MaxTransfers bounds the transfers to secondaries that are under way. Zero: 4.
	MaxTransfers int

	plain         bool // read UDP without what only some systems have
	prepared      sync.Once
	cookieSecrets []CookieSecret
	limiter       *limiter
	logQueries    bool

	transfers atomic.Int32
	queries   sync.Pool // of *query
	logged    sync.Map  // what is logged once: whoever found a query that brings it about can send it a million times
}

// Client says where a request came from.
type Client struct {
	Transport Transport
	Addr      netip.AddrPort

	send sender // of a reply that has many messages; nil where that cannot be
}

// Answer returns the reply to a request, both in wire form (over TCP without the length), or nil if there is none to
// send. The reply fits the transport, and uses dst's memory if its capacity is enough. Answer moves no bytes itself and
// keeps neither slice.
func (s *Server) Answer(dst, request []byte, from Client) (reply []byte) {
	q, _ := s.queries.Get().(*query)
	if q == nil {
		q = new(query)
	}
	reply = s.answer(q, dst, request, from)
	s.queries.Put(q)
	return reply
}

// answer is Answer in the memory of q.
func (s *Server) answer(q *query, dst, request []byte, from Client) (reply []byte) {
	// RFC 1035 §4.1.1. What is too short to have an ID cannot be replied to, and a reply to a response could go round
	// and round between two servers.
	if len(request) < headerSize || request[2]&0x80 != 0 {
		if s.Observe != nil {
			s.Observe(q.observation(from.Transport, 0, 0))
		}
		return nil
	}
	var start time.Time
	if s.Observe != nil {
		start = time.Now()
	}
	s.prepared.Do(s.prepare)
	defer func() {
		if v := recover(); v != nil {
			s.logPanic(v, "they got SERVFAIL")
			reply = serverFailure(dst, request)
			*q = query{rcode: dns.RcodeServerFailure}
		}
		s.observe(q, request, from, len(reply)+q.sent, start)
		q.reset()
	}()

	q.parse(request)
	if q.couldLoop(from) {
		return nil
	}
	s.setOptions(q, from)
	if s.limitReply(q, from) {
		// RFC 8945 §5.3: the reply to a request whose signature is right is signed. It is not larger for that than the request.
		q.tsig.present = q.tsig.present && !q.malformed && s.authenticate(q, request)
		return q.appendTSIG(q.small(dst, request))
	}
	limit := q.limit(from.Transport)
	if reply, ok := s.answerWire(q, dst, request, limit); ok {
		return reply
	}
	return s.answerLong(q, dst, request, from, limit)
}

// answerLong replies to any request, by way of miekg/dns.
func (s *Server) answerLong(q *query, dst, request []byte, from Client, limit int) []byte {
	switch err := s.respond(q, request, from); {
	case err != nil:
		return nil
	case q.sent > 0:
		return []byte{} // all that there is has been sent
	}
	reply, err := q.pack(dst, request, limit)
	if err != nil {
		if _, known := s.logged.LoadOrStore("pack", nil); !known {
			s.log().Error("an answer cannot be sent; it gets SERVFAIL, and so will others like it, without a word here",
				"name", q.qname, "type", dns.Type(q.qtype).String(), "err", err)
		}
		q.rcode = dns.RcodeServerFailure
		return serverFailure(dst, request)
	}
	return reply
}

// prepare makes what all queries share.
func (s *Server) prepare() {
	if s.cookieSecrets = s.CookieSecrets; len(s.cookieSecrets) == 0 {
		s.cookieSecrets = []CookieSecret{NewCookieSecret()}
	}
	s.logQueries = s.log().Enabled(context.Background(), slog.LevelDebug)
	if s.RateLimit.PerSecond > 0 {
		s.limiter = newLimiter(s.RateLimit.PerSecond, s.RateLimit.Key, s.now())
	}
}

func (s *Server) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// respond decides on the reply. An error is about a transfer that was cut off, after which nothing can be sent.
func (s *Server) respond(q *query, request []byte, from Client) error {
	if q.question != nil {
		var err error
		if q.qname, _, err = dns.UnpackDomainName(request, headerSize); err != nil {
			q.malformed, q.question = true, nil
		}
	}
	if q.tsig.present && !q.malformed && !s.authenticate(q, request) {
		return nil
	}
	var why explanation
	if q.rcode, why = q.fault(); q.rcode != dns.RcodeSuccess {
		q.explanation = why
		return nil
	}
	zone := s.Zones.zoneFor(&q.name, q.qtype)
	switch {
	case q.question == nil:
		q.answerCookie()
	case q.qclass != dns.ClassINET:
		s.answerChaos(q)
	case q.qtype == dns.TypeNXNAME:
		q.refuse(dns.RcodeFormatError, dns.ExtendedErrorCodeInvalidQueryType, "NXNAME is not a type to ask for") // RFC 9824 §3.5
	case zone == nil:
		// A transfer too, for which RFC 5936 §2.2.1 would have NOTAUTH: whatever the type, it is not from here.
		q.refuse(dns.RcodeRefused, dns.ExtendedErrorCodeNotAuthoritative, "the name is not in a zone of this server")
	case q.qtype == dns.TypeAXFR, q.qtype == dns.TypeIXFR:
		return s.transfer(zone, q, request, from)
	default:
		zone.answer(q)
	}
	return nil
}

func (s *Server) observe(q *query, request []byte, from Client, size int, start time.Time) {
	if s.Observe != nil {
		s.Observe(q.observation(from.Transport, size, time.Since(start)))
	}
	if s.logQueries {
		if q.qname == "" && q.question != nil {
			q.qname, _, _ = dns.UnpackDomainName(request, headerSize) // the wire form does without
		}
		s.Log.Debug("query", "client", from.Addr.String(), "transport", from.Transport.String(), "name", q.qname,
			"type", dns.Type(q.qtype).String(), "rcode", rcodeLabel(q.rcode), "truncated", q.truncated, "size", size)
	}
}

// logPanic reports a panic, once for each place in the code, and what came of it for the queries at hand.
func (s *Server) logPanic(v any, outcome string) {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var place string
	var stack []string
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		at := fmt.Sprintf("%s:%d", frame.Function, frame.Line)
		if place == "" && !strings.HasPrefix(frame.Function, "runtime.") {
			place = at
		}
		stack = append(stack, at)
	}
	if _, known := s.logged.LoadOrStore(place, nil); !known {
		s.log().Error("queries made the server panic; "+outcome+", and so will others like them, without a word here",
			"panic", fmt.Sprint(v), "stack", stack)
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}
