package httpapi

import (
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

// clock is a time that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newTestLimiter(n int, per time.Duration) (*limiter, *clock) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	l := newLimiter(Rate{n, per})
	l.now = c.now
	return l, c
}

func taken(l *limiter, addr string, times int) (n int) {
	for range times {
		if _, ok := l.take(netip.MustParseAddr(addr)); ok {
			n++
		}
	}
	return n
}

func TestLimitIsABurstAndThenARate(t *testing.T) {
	t.Parallel()
	l, clock := newTestLimiter(4, time.Minute)
	addr := netip.MustParseAddr("192.0.2.1")
	if _, spent := l.spent(addr); spent || taken(l, "192.0.2.1", 9) != 4 {
		t.Error("the burst is not 4")
	}
	wait, ok := l.take(addr)
	if again, spent := l.spent(addr); ok || !spent || wait != again || wait != 15*time.Second {
		t.Errorf("the wait is %v, %v", wait, again)
	}
	clock.at = clock.at.Add(wait - time.Millisecond)
	if _, ok := l.take(addr); ok {
		t.Error("taken too early")
	}
	clock.at = clock.at.Add(time.Millisecond)
	if taken(l, "192.0.2.1", 2) != 1 {
		t.Error("the wait that was told is wrong")
	}
	clock.at = clock.at.Add(time.Hour)
	if taken(l, "192.0.2.1", 9) != 4 {
		t.Error("the burst is not back")
	}
}

func TestLimitIsByHouseholdForIPv6(t *testing.T) {
	t.Parallel()
	l, _ := newTestLimiter(2, time.Hour)
	for _, test := range []struct {
		addr string
		want int
	}{
		{"192.0.2.1", 2}, {"192.0.2.2", 2}, {"192.0.2.1", 0},
		{"2001:db8::1", 2}, {"2001:db8::ffff:0:0:2", 0}, {"2001:db8:0:1::1", 2},
	} {
		if got := taken(l, test.addr, 3); got != test.want {
			t.Errorf("%s: %d, want %d", test.addr, got, test.want)
		}
	}
	if _, ok := l.take(netip.Addr{}); !ok { // no address is one client
		t.Error("no address")
	}
}

func TestNoLimitLimitsNothing(t *testing.T) {
	t.Parallel()
	for _, r := range []Rate{{}, {N: 1}, {Per: time.Hour}} {
		l := newLimiter(r)
		if taken(l, "192.0.2.1", 100) != 100 || len(l.young) != 0 {
			t.Errorf("%v limits", r)
		}
		if _, spent := l.spent(netip.MustParseAddr("192.0.2.1")); spent {
			t.Errorf("%v is spent", r)
		}
	}
}

func TestLimiterForgetsTheIdleAndIsBounded(t *testing.T) {
	t.Parallel()
	l, _ := newTestLimiter(1, time.Hour)
	busy := netip.MustParseAddr("192.0.2.1")
	l.take(busy)
	addr := netip.MustParseAddr("10.0.0.0")
	for i := range 3 * limitedAddrs {
		addr = addr.Next()
		l.take(addr)
		if i%1000 == 0 {
			if _, ok := l.take(busy); ok {
				t.Fatalf("an address that is seen all the time is forgotten after %d others", i)
			}
		}
	}
	if n := len(l.young) + len(l.old); n > limitedAddrs {
		t.Errorf("%d addresses are kept, want at most %d", n, limitedAddrs)
	}
	if _, ok := l.take(netip.MustParseAddr("10.0.0.1")); !ok {
		t.Error("the first of many is remembered")
	}
	if _, ok := l.take(addr); ok {
		t.Error("the last one is forgotten")
	}
}

// Retry-After is in whole seconds: less than the wait would be too early.
func TestRetryAfterIsRoundedUp(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]string{
		time.Millisecond: "1", time.Second: "1", 1500 * time.Millisecond: "2", 30 * 24 * time.Hour: "2592000",
	} {
		w := httptest.NewRecorder()
		writeLimited(w, wait)
		if got := w.Header().Get("Retry-After"); w.Code != 429 || got != want || w.Body.String() != `{"error": "rate_limited"}` {
			t.Errorf("%v: %d %q %s", wait, w.Code, got, w.Body)
		}
	}
}
