package acmeclient

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// refusing answers an order with these replies, and then lets it pass.
func refusing(replies ...func() *http.Response) *scriptedCA {
	return &scriptedCA{answer: func(r *http.Request, _ string) *http.Response {
		if r.URL.Path != "/order" {
			return nil
		}
		if len(replies) == 0 {
			return reply(201, `{"status": "pending", "authorizations": ["https://ca.test/authz"], "finalize": "https://ca.test/finalize"}`,
				"Location", "https://ca.test/order/1")
		}
		next := replies[0]
		replies = replies[1:]
		return next()
	}}
}

func TestRetryAfterIsObeyedInBothForms(t *testing.T) {
	t.Parallel()
	const wait = 30 * time.Second
	date := func(at time.Time) string { return at.UTC().Format(http.TimeFormat) }
	for name, answer := range map[string]func() *http.Response{
		"429 seconds": func() *http.Response { return problem(429, "rateLimited", "slow down", "Retry-After", "30") },
		"503 seconds": func() *http.Response { return reply(503, "<html>busy</html>", "Retry-After", "30") },
		"429 date": func() *http.Response {
			return problem(429, "rateLimited", "slow down", "Retry-After", date(time.Now().Add(wait)))
		},
		"503 date, by a clock that is a day off": func() *http.Response {
			theirs := time.Now().AddDate(0, 0, 1)
			return problem(503, "serverInternal", "busy", "Date", date(theirs), "Retry-After", date(theirs.Add(wait)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := refusing(answer)
				start := time.Now()
				if _, err := ca.client(t).NewOrder(t.Context(), OrderRequest{Names: []string{"example.com"}}); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took != wait {
					t.Errorf("waited %v, want %v", took, wait)
				}
			})
		})
	}
}

func TestLongRetryAfterIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := refusing(func() *http.Response {
			return problem(429, "rateLimited", "too many certificates (5) already issued for this exact set of domains",
				"Retry-After", "7200", "Link", `<https://letsencrypt.org/docs/rate-limits>;rel="help"`)
		})
		start := time.Now()
		_, err := ca.client(t).NewOrder(t.Context(), OrderRequest{Names: []string{"example.com"}})
		var p *Problem
		if !errors.As(err, &p) || p.RetryAfter != 2*time.Hour || p.Status != 429 {
			t.Fatalf("error %#v, want a rateLimited problem with RetryAfter 2h", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("waited %v for it", took)
		}
		if hint := p.Hint(); hint != "try again in 2h0m0s; see https://letsencrypt.org/docs/rate-limits" {
			t.Errorf("hint %q", hint)
		}
	})
}

func TestServerErrorsAreRetriedAFewTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := func() *http.Response { return reply(500, "oops") }
		busy := func() *http.Response { return reply(503, "busy, and for nobody knows how long") }
		ca := refusing(broken, busy, broken)
		if _, err := ca.client(t).NewOrder(t.Context(), OrderRequest{Names: []string{"example.com"}}); err != nil {
			t.Errorf("three failures were not survived: %v", err)
		}
		ca = refusing(broken, broken, broken, broken)
		if _, err := ca.client(t).NewOrder(t.Context(), OrderRequest{Names: []string{"example.com"}}); err == nil {
			t.Error("a fourth failure was not reported")
		}
		if n := ca.count("POST /order"); n != maxAttempts {
			t.Errorf("%d attempts, want %d", n, maxAttempts)
		}
	})
}

func TestRefusalsAreNotRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := refusing(func() *http.Response { return problem(403, "unauthorized", "no") })
		_, err := ca.client(t).NewOrder(t.Context(), OrderRequest{Names: []string{"example.com"}})
		if err == nil || ca.count("POST /order") != 1 {
			t.Errorf("%d requests, error %v", ca.count("POST /order"), err)
		}
	})
}

func TestCancellationEndsARetryWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := refusing(func() *http.Response { return problem(503, "serverInternal", "closed for lunch", "Retry-After", "50") })
		c := ca.client(t)
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.NewOrder(ctx, OrderRequest{Names: []string{"example.com"}})
		if took := time.Since(start); took != 7*time.Second {
			t.Errorf("returned after %v, want 7s", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "closed for lunch") {
			t.Errorf("error %v, want the deadline and the CA's last words", err)
		}
	})
}

func TestBadNoncesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := &scriptedCA{answer: func(r *http.Request, _ string) *http.Response {
			if r.URL.Path == "/order" {
				return problem(400, "badNonce", "never seen it")
			}
			return nil
		}}
		_, err := ca.client(t).NewOrder(t.Context(), OrderRequest{Names: []string{"example.com"}})
		if !IsProblem(err, ProblemBadNonce) {
			t.Errorf("error %v, want badNonce", err)
		}
		if n := ca.count("POST /order"); n != maxBadNonce+1 {
			t.Errorf("%d attempts, want %d", n, maxBadNonce+1)
		}
		// Each rejection brought the nonce for the next attempt.
		if n := ca.count("HEAD /nonce"); n != 1 {
			t.Errorf("%d nonces were asked for, want 1", n)
		}
	})
}

func TestRetryAfterParsing(t *testing.T) {
	t.Parallel()
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	for _, test := range []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"", 0, false},
		{"0", 0, true},
		{"120", 2 * time.Minute, true},
		{"-5", 0, false},
		{"1.5", 0, false},
		{"soon", 0, false},
		{"99999999999999999999", 0, false},
		{"Sun, 06 Nov 1994 08:50:37 GMT", time.Minute, true},
		{"Sunday, 06-Nov-94 08:50:37 GMT", time.Minute, true},
		{"Sun Nov  6 08:50:37 1994", time.Minute, true},
		{"Sun, 06 Nov 1994 08:00:00 GMT", 0, true}, // past
	} {
		r := &response{header: http.Header{"Retry-After": {test.value}, "Date": {date}}}
		if got, ok := r.retryAfter(); got != test.want || ok != test.ok {
			t.Errorf("Retry-After %q: %v, %v, want %v, %v", test.value, got, ok, test.want, test.ok)
		}
	}
}
