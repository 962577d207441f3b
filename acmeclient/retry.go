package acmeclient

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// maxAttempts bounds the attempts at a request that the CA, or the network, did not let through.
const maxAttempts = 4

// get fetches url without a signature.
func (c *Client) get(ctx context.Context, url string) (*response, error) {
	return c.attempt(ctx, func(ctx context.Context) (*response, error) {
		return c.exchange(ctx, request{method: http.MethodGet, url: url})
	})
}

// attempt repeats an exchange whose failure may pass by itself. A reply of status 400 and more comes back as an error,
// together with the response.
func (c *Client) attempt(ctx context.Context, exchange func(context.Context) (*response, error)) (*response, error) {
	pause := pace{next: 200 * time.Millisecond, limit: 2 * time.Second}
	for n := 1; ; n++ {
		res, err := exchange(ctx)
		wait, again := time.Duration(0), false
		if err != nil {
			wait, again = pause.step(), mayPass(ctx, err)
		} else {
			if err = res.failure(); err == nil {
				return res, nil
			}
			wait, again = c.refusalPasses(res, &pause)
		}
		if !again || n == maxAttempts {
			return res, err
		}
		c.log().DebugContext(ctx, "acme request is repeated", "error", err, "after", wait)
		if stopped := sleep(ctx, wait); stopped != nil {
			return res, fmt.Errorf("%w, after: %w", stopped, err)
		}
	}
}

// refusalPasses says whether the CA may answer better after a while, and when. RFC 8555 §6.6: a rate limit comes with a
// Retry-After, and a limit without one is nothing to wait for.
func (c *Client) refusalPasses(res *response, pause *pace) (wait time.Duration, again bool) {
	asked, ok := res.retryAfter()
	switch res.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if ok {
			return asked, asked <= c.maxRetryAfter()
		}
		return pause.step(), res.status == http.StatusServiceUnavailable
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return pause.step(), true
	}
	return 0, false
}

// retryAfter reads the Retry-After header in both of its forms (RFC 9110 §10.2.3). A date is taken relative to the reply's
// own Date, so that this machine's clock does not matter.
func (r *response) retryAfter() (time.Duration, bool) {
	value := r.header.Get("Retry-After")
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(r.header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now)), true
}

// A pace is a series of growing waits, each drawn between three quarters and all of its nominal length, so that many
// clients that failed together do not return together.
type pace struct {
	next, limit time.Duration
}

func (p *pace) step() time.Duration {
	wait := p.next - rand.N(p.next/4+1)
	p.next = min(p.next+p.next/2, p.limit)
	return wait
}

// sleep waits, and returns the reason if the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// ended is the error of a context that is over. It reads as the cause, and it is both the cause and the context's own error.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == cause {
		return err
	}
	return &endedError{err, cause}
}

type endedError struct{ err, cause error }

func (e *endedError) Error() string   { return e.cause.Error() }
func (e *endedError) Unwrap() []error { return []error{e.err, e.cause} }
