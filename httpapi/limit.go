package httpapi

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate is how often something may happen: N times at once, and then again as
// fast as N times in each Per. The zero Rate is no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// limitedAddrs bounds the addresses that a limiter remembers. At some 150 bytes
// each, a full limiter takes 5 MB.
const limitedAddrs = 32 << 10

// limiter counts what clients do, by address: one of IPv4 is a client, and so
// is a /64 of IPv6, which is what one machine or one household has.
//
// Its memory is bounded by forgetting: addresses are in two halves; one that
// acts moves to the young half, and when that is full, the old one is
// forgotten and the young one becomes old. So nobody is forgotten before half
// of limitedAddrs others acted since, and who is forgotten starts anew. To
// act from so many addresses helps an attacker no more than to have them does.
// It is safe for concurrent use.
type limiter struct {
	rate Rate
	now  func() time.Time
	half int

	mu         sync.Mutex
	young, old map[netip.Addr]*rate.Limiter
}

func newLimiter(r Rate) *limiter {
	return &limiter{rate: r, now: time.Now, half: limitedAddrs / 2, young: make(map[netip.Addr]*rate.Limiter)}
}

func (l *limiter) off() bool { return l.rate.N <= 0 || l.rate.Per <= 0 }

// take counts one act of addr. Where there were too many it counts nothing, and
// says how long the next one has to wait.
func (l *limiter) take(addr netip.Addr) (wait time.Duration, ok bool) {
	if l.off() {
		return 0, true
	}
	bucket, now := l.bucket(addr), l.now()
	if bucket.AllowN(now, 1) {
		return 0, true
	}
	return l.wait(bucket, now), false
}

// spent reports whether addr may do nothing more now, and how long not.
func (l *limiter) spent(addr netip.Addr) (wait time.Duration, spent bool) {
	if l.off() {
		return 0, false
	}
	bucket, now := l.bucket(addr), l.now()
	wait = l.wait(bucket, now)
	return wait, wait > 0
}

func (l *limiter) wait(bucket *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - bucket.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing * float64(l.rate.Per) / float64(l.rate.N))
}

// bucket returns what addr has left.
func (l *limiter) bucket(addr netip.Addr) *rate.Limiter {
	key := addr
	if addr.Is6() {
		prefix, _ := addr.Prefix(64) // 64 bits are never too many
		key = prefix.Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.young[key]; ok {
		return b
	}
	b, ok := l.old[key]
	if !ok {
		b = rate.NewLimiter(rate.Limit(float64(l.rate.N)/l.rate.Per.Seconds()), l.rate.N)
	}
	if len(l.young) >= l.half {
		l.young, l.old = make(map[netip.Addr]*rate.Limiter), l.young
	}
	l.young[key] = b
	return b
}

// writeLimited answers a client that did something too often (RFC 6585 §4).
func writeLimited(w http.ResponseWriter, wait time.Duration) {
	seconds := max(1, math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.FormatFloat(seconds, 'f', 0, 64))
	writeError(w, http.StatusTooManyRequests, codeLimited)
}
