package acmeclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

const (
	// maxReply bounds the body of a reply. The longest one that is known is an order of a few hundred names.
	maxReply = 1 << 20

	// exchangeTimeout bounds one request and its reply.
	exchangeTimeout = 30 * time.Second
)

type request struct {
	method string
	url    string
	body   []byte // a JWS; nil for GET and HEAD
	accept string
}

type response struct {
	method string
	url    string // of the last request, after redirects
	status int
	header http.Header
	body   []byte
}

// exchange makes one request and reads its reply, whatever the status. It repeats nothing.
func (c *Client) exchange(ctx context.Context, r request) (*response, error) {
	c.init()
	if err := checkURL(r.url); err != nil {
		return nil, err
	}
	if err := c.inFlight.enter(ctx); err != nil {
		return nil, err
	}
	defer c.inFlight.leave()

	start := time.Now()
	res, err := c.roundTrip(ctx, r)
	if err != nil {
		c.log().DebugContext(ctx, "acme exchange failed", "method", r.method, "url", r.url, "error", err)
		return nil, err
	}
	c.log().LogAttrs(ctx, slog.LevelDebug, "acme exchange", slog.String("method", r.method), slog.String("url", r.url),
		slog.Int("status", res.status), slog.Duration("took", time.Since(start)))
	return res, nil
}

func (c *Client) roundTrip(ctx context.Context, r request) (*response, error) {
	limited, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.userAgent())
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/jose+json")
	}
	reply, err := c.http.Do(req)
	if err != nil {
		return nil, transportError(ctx, err)
	}
	defer reply.Body.Close()
	res := &response{method: r.method, url: reply.Request.URL.String(), status: reply.StatusCode, header: reply.Header}
	res.body, err = io.ReadAll(io.LimitReader(reply.Body, maxReply+1))
	if err != nil {
		return nil, transportError(ctx, &url.Error{Op: "reading reply of", URL: res.url, Err: err})
	}
	if len(res.body) > maxReply {
		return nil, res.unexpected(fmt.Sprintf("larger than %d bytes", maxReply))
	}
	return res, nil
}

// transportError tells our own time limit from the end of the caller's context.
func transportError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", err, ended(ctx))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no complete reply within %v: %w", exchangeTimeout, err)
	}
	return err
}

// checkURL refuses to speak ACME in the clear (RFC 8555 §6.1), except with this machine itself, where a test CA may be.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("bad URL of the CA: %v", err)
	}
	switch {
	case u.Host == "":
		return fmt.Errorf("%q is not an absolute URL", raw)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%s: ACME needs https", raw)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// checkRedirect follows a GET. A signed request is for one URL and is never sent to another (RFC 8555 §6.4).
func checkRedirect(req *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet {
		return http.ErrUseLastResponse
	}
	if len(via) > 5 {
		return errors.New("more than 5 redirects")
	}
	return checkURL(req.URL.String())
}

// mayPass says whether a failed exchange is worth another attempt. A certificate does not get better by asking again, and a
// CA that says nothing for so long is not asked to do it thrice more.
func mayPass(ctx context.Context, err error) bool {
	var badCert *tls.CertificateVerificationError
	if ctx.Err() != nil || errors.As(err, &badCert) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var failed *url.Error
	return errors.As(err, &failed)
}
