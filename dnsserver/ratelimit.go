package dnsserver

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"
	"github.com/miekg/dns"
)

// RateLimit bounds the replies over UDP to an address, which whoever asks may have forged, and to the networks that it
// is in, in the manner of Knot's module rrl. What is over the limit gets a reply without records and with TC, no larger
// than the request, since a resolver that is meant comes back over TCP, and one with a valid cookie has no limit.
type RateLimit struct {
	// PerSecond is how many replies in a second one address gets when it asks evenly. Two and a half times as many may
	// go at once. Zero: no limit. At most MaxPerSecond.
	PerSecond int
	// Exempt are the networks without a limit.
	Exempt []netip.Prefix
	// Key is the secret by which networks find their places in the table of loads. Empty: it is drawn.
	Key Secret
}

// MaxPerSecond bounds RateLimit.PerSecond.
const MaxPerSecond = 100_000

const (
	// A load is the replies of late to one network, as a fraction of what it may have at once: fullLoad.
	loadBits = 28
	fullLoad = 1<<loadBits - 1
	// loadLifetime is the mean lifetime of a load, and so the ratio of what may go at once to what may go in a second.
	loadLifetime = 2500 * time.Millisecond

	timeBits = 20 // of milliseconds: a load that has been left alone for a multiple of 17 minutes looks fresh, once
	tagBits  = 64 - loadBits - timeBits

	bucketSize  = 8       // loads: a cache line
	bucketCount = 1 << 14 // 1 MiB in all; a million packets a second exhaust the limits of 5,000 addresses
	casAttempts = 4       // then a reply goes uncounted

	limitLogPeriod = 30 * time.Second
)

// network is a size of network, and how many times the replies to one address all its addresses together may have.
type network struct {
	bits  int
	times uint32
}

// Those of Knot 3.5, longest first.
var (
	networks4 = [...]network{{32, 1}, {24, 32}, {20, 256}, {18, 768}}
	networks6 = [...]network{{128, 1}, {64, 2}, {56, 3}, {48, 4}, {32, 64}}
)

// limiter counts replies in a table of a fixed size. Readers and writers share it without a lock: what they lose to each
// other is a reply that goes uncounted.
//
// A table cannot be flooded: a network that is new replaces the smallest load in its bucket and inherits it, so that
// none is ever counted as less than it is, and who is over the limit stays. Nor can collisions be made on purpose: the
// place of a network is a keyed hash of it.
type limiter struct {
	key    [2]uint64
	price4 [len(networks4)]uint32 // what a reply adds to the load of each network
	price6 [len(networks6)]uint32
	start  time.Time
	logged atomic.Int64 // when, since start

	fine    [64]uint64   // what is left of a load after so many milliseconds, in 1/2^32
	coarse  [1024]uint64 // and after so many times 64
	buckets [bucketCount]bucket
}

// bucket holds loads, each with a tag to know it by and the time that it is of: tag, load, time from the top.
type bucket [bucketSize]atomic.Uint64

func newLimiter(perSecond int, key Secret, now time.Time) *limiter {
	l := &limiter{key: hashKey(key), start: now}
	atOnce := loadLifetime.Seconds() * float64(min(perSecond, MaxPerSecond))
	price := func(n network) uint32 { return max(1, uint32(fullLoad/(atOnce*float64(n.times)))) }
	for i, n := range networks4 {
		l.price4[i] = price(n)
	}
	for i, n := range networks6 {
		l.price6[i] = price(n)
	}
	left := func(ms int) uint64 {
		return uint64(math.Pow(1-1/float64(loadLifetime.Milliseconds()), float64(ms)) * (1 << 32))
	}
	for i := range l.fine {
		l.fine[i] = left(i)
	}
	for i := range l.coarse {
		l.coarse[i] = left(i * len(l.fine))
	}
	l.logged.Store(-int64(limitLogPeriod))
	return l
}

// hashKey makes a key of SipHash out of a secret of any length, or draws one for none.
func hashKey(secret Secret) [2]uint64 {
	if secret == "" {
		return [2]uint64{rand.Uint64(), rand.Uint64()}
	}
	sum := sha256.Sum256([]byte(string(secret)))
	return [2]uint64{binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])}
}

// admit counts a reply to addr, or returns the size of the network, which can be addr itself, that has had enough. What
// is not admitted is not counted.
func (l *limiter) admit(addr netip.Addr, now time.Time) (bits int, ok bool) {
	var counts [max(len(networks4), len(networks6))]count
	networks, prices := networks6[:], l.price6[:]
	if addr.Is4() {
		networks, prices = networks4[:], l.price4[:]
	}
	ms := uint64(now.Sub(l.start).Milliseconds()) & (1<<timeBits - 1)
	for i, n := range networks {
		c := &counts[i]
		c.place = l.place(addr, n.bits)
		if l.find(c); c.slot != nil {
			c.load = l.decayed(c.entry, ms)
		}
		if c.load+uint64(prices[i]) > fullLoad {
			return n.bits, false
		}
	}
	for i := range networks {
		l.add(&counts[i], uint64(prices[i]), ms)
	}
	return 0, true
}

// count is the load of one network, as it was found.
type count struct {
	place uint64
	slot  *atomic.Uint64 // nil when there is none
	entry uint64
	load  uint64 // what is left of it by now
}

// place hashes a network. The low bits say which bucket, the high ones are the tag.
func (l *limiter) place(addr netip.Addr, bits int) uint64 {
	var input [17]byte
	if addr.Is4() {
		octets := addr.As4()
		masked := binary.BigEndian.Uint32(octets[:]) >> (32 - bits)
		binary.BigEndian.PutUint32(input[:], masked)
		input[4] = byte(bits)
		return siphash.Hash(l.key[0], l.key[1], input[:5])
	}
	octets := addr.As16()
	high, low := binary.BigEndian.Uint64(octets[:]), binary.BigEndian.Uint64(octets[8:])
	binary.BigEndian.PutUint64(input[:], high&(^uint64(0)<<max(0, 64-bits)))
	binary.BigEndian.PutUint64(input[8:], low&(^uint64(0)<<min(64, 128-bits)))
	input[16] = byte(bits)
	return siphash.Hash(l.key[0], l.key[1], input[:])
}

// find looks a network up.
func (l *limiter) find(c *count) {
	b := &l.buckets[c.place%bucketCount]
	c.slot = nil
	for i := range b {
		if entry := b[i].Load(); entry>>(64-tagBits) == c.place>>(64-tagBits) {
			c.slot, c.entry = &b[i], entry
			return
		}
	}
}

// replace makes the smallest load in its bucket that of a network which has none.
func (l *limiter) replace(c *count, ms uint64) {
	b := &l.buckets[c.place%bucketCount]
	c.load = math.MaxUint64
	for i := range b {
		entry := b[i].Load()
		if left := l.decayed(entry, ms); left < c.load {
			c.slot, c.entry, c.load = &b[i], entry, left
		}
	}
}

// add adds to a load.
func (l *limiter) add(c *count, price, ms uint64) {
	tag := c.place >> (64 - tagBits) << (64 - tagBits)
	for range casAttempts {
		if c.slot == nil {
			l.replace(c, ms)
		}
		if c.slot.CompareAndSwap(c.entry, tag|min(c.load+price, fullLoad)<<timeBits|ms) {
			return
		}
		if l.find(c); c.slot != nil {
			c.load = l.decayed(c.entry, ms)
		}
	}
}

// decayed returns what is left by now of the load in an entry.
func (l *limiter) decayed(entry, ms uint64) uint64 {
	load := entry >> timeBits & fullLoad
	elapsed := (ms - entry) & (1<<timeBits - 1)
	switch {
	case elapsed == 0, elapsed > 1<<timeBits-1000:
		return load // of this millisecond, or of one that another goroutine has seen already
	case elapsed >= uint64(len(l.fine)*len(l.coarse)):
		return 0
	}
	load = load * l.fine[elapsed%uint64(len(l.fine))] >> 32
	return load * l.coarse[elapsed/uint64(len(l.fine))] >> 32
}

// limitReply says whether a request is over the limit of its client, so that its reply has to be q.small.
func (s *Server) limitReply(q *query, from Client) bool {
	if s.limiter == nil || from.Transport != UDP || q.options.cookie.verified || !from.Addr.IsValid() {
		return false
	}
	addr := from.Addr.Addr().Unmap()
	for _, exempt := range s.RateLimit.Exempt {
		if exempt.Contains(addr) {
			return false
		}
	}
	now := s.now()
	bits, ok := s.limiter.admit(addr, now)
	if ok {
		return false
	}
	q.limited = true
	since := int64(now.Sub(s.limiter.start))
	if last := s.limiter.logged.Load(); since-last >= int64(limitLogPeriod) && s.limiter.logged.CompareAndSwap(last, since) {
		network, _ := addr.WithZone("").Prefix(bits)
		s.log().Warn("replies over UDP are limited; who asks is told to use TCP; more of this is not logged for 30 s",
			"client", addr.String(), "network", network.String(), "limit", s.RateLimit.PerSecond)
	}
	return true
}

// small makes the reply to a request that is over the limit, but for a signature. It is not larger than the request: the
// header, the question, and an OPT record for an OPT record.
func (q *query) small(dst, request []byte) []byte {
	if q.rcode, _ = q.fault(); q.rcode == dns.RcodeSuccess {
		q.truncated = true
	}
	reply := append(dst[:0], make([]byte, headerSize)...)
	copy(reply, request[:2])
	reply[2] = 0x80 | request[2]&0x79 // QR; opcode and RD copied
	if q.truncated {
		reply[2] |= 0x02
	}
	reply[3] = byte(q.rcode & 0xF)
	if q.question != nil {
		reply[5] = 1
		reply = append(reply, q.question...)
	}
	return q.appendOPT(reply)
}
