package delegate

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	retryFor        = 30 * time.Second
	firstRetryPause = 250 * time.Millisecond
	lastRetryPause  = 8 * time.Second
)

// do sends c until it succeeds, fails for good, or the time is over. Then the error is the one of the last attempt.
func (a *API) do(ctx context.Context, c call) ([]byte, error) {
	limit := a.RetryFor
	if limit == 0 {
		limit = retryFor
	}
	deadline := time.Now().Add(limit)
	for pause := firstRetryPause; ; pause = min(2*pause, lastRetryPause) {
		body, err := a.send(ctx, c)
		if err == nil || ctx.Err() != nil {
			return body, err
		}
		wait, again := retryAfter(err, pause/2+rand.N(pause/2))
		if !again || time.Now().Add(wait).After(deadline) {
			return nil, err
		}
		logger(a.Log).WarnContext(ctx, "the server cannot do it now; trying again", "url", c.address(), "error", err, "pause", wait)
		if !sleep(ctx, wait) {
			return nil, err
		}
	}
}

// retryAfter returns whether err may be gone later, and when to see: what the server said, or else pause.
func retryAfter(err error, pause time.Duration) (time.Duration, bool) {
	var reply *APIError
	if errors.As(err, &reply) {
		temporary := reply.Status == http.StatusTooManyRequests ||
			reply.Status >= 500 && reply.Status != http.StatusNotImplemented
		return max(pause, reply.RetryAfter), temporary
	}
	var connect *ConnectError
	if !errors.As(err, &connect) {
		return 0, false
	}
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		alert        tls.AlertError
		lookup       *net.DNSError
	)
	permanent := errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &lookup) && lookup.IsNotFound || isPlainHTTP(err)
	return pause, !permanent
}

// parseRetryAfter reads both forms of RFC 9110 §10.2.3. Zero means that there was none.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// sleep waits for d. It returns false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func logger(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
