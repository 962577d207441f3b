package acmeclient

import (
	"context"
	"crypto"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"
)

// A Client is an account at a CA. It is safe for concurrent use, and its fields must not change once it is used.
// It keeps the CA's directory, the account's URL and a stock of nonces, so one Client should live as long as its account is
// needed. It starts no goroutine that outlives a call.
type Client struct {
	// Directory is the URL of the CA's directory.
	Directory string

	// Key is the account's key: ECDSA on P-256 or P-384, or RSA of at least 2048 bits.
	Key crypto.Signer

	// HTTPClient makes the requests. Nil: [http.DefaultClient]. It is where another root for the CA's own HTTPS goes. Its
	// CheckRedirect is not used.
	HTTPClient *http.Client

	// UserAgent names the program and its version to the CA, "cnamed/1.0". This package adds its own name.
	UserAgent string

	// Log gets each exchange at debug level. Nil: nothing is logged. Keys, nonces and bodies never are.
	Log *slog.Logger

	// MaxRetryAfter bounds each wait that a CA asks for. An error that asks for more is returned at once, with the time in
	// [Problem.RetryAfter]; polling just goes on after this time. Zero: one minute.
	MaxRetryAfter time.Duration

	// PollTimeout bounds the wait for one authorization or order to be settled. Zero: ten minutes.
	PollTimeout time.Duration

	once     sync.Once
	http     *http.Client
	inFlight gate // bounds the requests of all calls together
	nonces   nonces

	// The gates let one call fetch what all the others wait for, each as long as its own context lasts.
	directoryGate gate
	accountGate   gate

	mu        sync.Mutex
	directory *Directory
	account   string // URL
}

// maxInFlight requests run at once. It is what keeps an order of a hundred names below a CA's limit of requests a second.
const maxInFlight = 8

func (c *Client) init() {
	c.once.Do(func() {
		base := c.HTTPClient
		if base == nil {
			base = http.DefaultClient
		}
		client := *base
		client.CheckRedirect = checkRedirect
		c.http = &client
		c.inFlight = make(gate, maxInFlight)
		c.directoryGate = make(gate, 1)
		c.accountGate = make(gate, 1)
	})
}

func (c *Client) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// userAgent follows RFC 8555 §6.1: the ACME software, and the library below it.
func (c *Client) userAgent() string {
	own := "acmeclient (" + runtime.GOOS + "; " + runtime.GOARCH + ")"
	if c.UserAgent == "" {
		return own
	}
	return c.UserAgent + " " + own
}

func (c *Client) maxRetryAfter() time.Duration {
	if c.MaxRetryAfter > 0 {
		return c.MaxRetryAfter
	}
	return time.Minute
}

func (c *Client) pollTimeout() time.Duration {
	if c.PollTimeout > 0 {
		return c.PollTimeout
	}
	return 10 * time.Minute
}

// A gate lets as many callers through at once as it has room for. Unlike a mutex it can be left by cancellation.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	default:
	}
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

func (g gate) leave() { <-g }
