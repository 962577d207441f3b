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

// settling has an authorization that is pending until settled, which is counted from the test's start.
func settling(after time.Duration, headers ...string) *scriptedCA {
	start := time.Now()
	return &scriptedCA{answer: func(r *http.Request, _ string) *http.Response {
		if r.URL.Path != "/authz" {
			return nil
		}
		status := "pending"
		if time.Since(start) >= after {
			status, headers = "valid", nil
		}
		return reply(200, `{"status": "`+status+`", "identifier": {"type": "dns", "value": "example.com"}}`, headers...)
	}}
}

func TestPollingLosesLittleTime(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond, time.Second, 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ca := settling(after)
			start := time.Now()
			if _, err := ca.client(t).WaitAuthorization(t.Context(), "https://ca.test/authz"); err != nil {
				t.Fatal(err)
			}
			took, polls := time.Since(start), ca.count("POST /authz")
			if limit := after + after/2 + firstPoll; took > limit {
				t.Errorf("settled after %v, noticed after %v, want at most %v", after, took, limit)
			}
			if polls > 25 {
				t.Errorf("settled after %v, polled %d times", after, polls)
			}
		})
	}
}

func TestPollingObeysRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := settling(8*time.Second, "Retry-After", "5")
		start := time.Now()
		if _, err := ca.client(t).WaitAuthorization(t.Context(), "https://ca.test/authz"); err != nil {
			t.Fatal(err)
		}
		if took, polls := time.Since(start), ca.count("POST /authz"); took != 10*time.Second || polls != 3 {
			t.Errorf("%d polls in %v, want 3 in 10s", polls, took)
		}
	})
}

func TestPollingIsNotBusyAtRetryAfterZero(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := settling(time.Second, "Retry-After", "0")
		if _, err := ca.client(t).WaitAuthorization(t.Context(), "https://ca.test/authz"); err != nil {
			t.Fatal(err)
		}
		if polls := ca.count("POST /authz"); polls > int(time.Second/firstPoll)+1 {
			t.Errorf("%d polls in a second", polls)
		}
	})
}

func TestPollingEndsAtItsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := settling(time.Hour, "Retry-After", "86400").client(t)
		c.PollTimeout = 150 * time.Second
		start := time.Now()
		_, err := c.WaitAuthorization(t.Context(), "https://ca.test/authz")
		if !errors.Is(err, errPollTimeout) || !strings.Contains(err.Error(), "2m30s") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(start); took != c.PollTimeout {
			t.Errorf("gave up after %v, want %v", took, c.PollTimeout)
		}
	})
}

func TestCancellationEndsPolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := settling(time.Hour, "Retry-After", "30").client(t)
		interrupted := errors.New("interrupted by a person")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(interrupted) })
		start := time.Now()
		_, err := c.WaitAuthorization(ctx, "https://ca.test/authz")
		if !errors.Is(err, context.Canceled) || !errors.Is(err, interrupted) {
			t.Errorf("error %v, want the cancellation and its cause", err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("returned after %v, want 3s", took)
		}
	})
}
