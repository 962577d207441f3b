// Package ca runs Pebble, Let's Encrypt's test CA, inside the process.
//
// It is the real protocol: HTTPS with a certificate of its own root, nonces, JWS checked in Pebble's strict mode, dns-01
// asked over TCP at a resolver of the caller's choice. What it does not do: CAA, rate limits, CNAME chasing (the resolver
// has to follow them), and waiting (Pebble's random sleeps are always off).
//
// Any number of CAs may run at once. Each leaves one idle goroutine behind when it is closed, because Pebble has no way to
// stop its validator.
package ca

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	pebbleca "github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// Options say how the CA behaves. The zero value issues P-256 certificates for 90 days and rejects no nonce.
type Options struct {
	// Resolver is the host:port that the validator asks for TXT records, over TCP. Empty: the system's resolver.
	Resolver string
	// NonceRejectPercent is the share of good nonces that are refused with badNonce, 0 to 99.
	NonceRejectPercent int
	// ReuseAuthorizations makes an order reuse each valid authorization of the account. When it is false Pebble still
	// reuses one in a hundred.
	ReuseAuthorizations bool
	// EABKeys maps key identifiers to base64url MAC keys of at least 32 bytes. When there are any, an account needs one.
	EABKeys map[string]string
	// Validity is the lifetime of certificates, in whole seconds. Zero: 90 days.
	Validity time.Duration
	// Blocklist holds domains that are refused with rejectedIdentifier, with all names below them.
	Blocklist []string
	// KeyAlgorithm of the CA's own keys: "ecdsa" (the default, quick to start) or "rsa".
	KeyAlgorithm string
	// AlternateRoots is the number of additional chains offered by Link headers.
	AlternateRoots int
	// ChainLength is the number of intermediates. Zero: 1.
	ChainLength int
	// RetryAfterAuthz and RetryAfterOrder are the seconds of the Retry-After headers, sent as seconds or as a date at
	// random. Zero: none is sent.
	RetryAfterAuthz, RetryAfterOrder int
	// Wrap, when it is set, stands in front of the CA: for faults.
	Wrap func(http.Handler) http.Handler
	// Log takes Pebble's log, and the server's. Nil discards it.
	Log io.Writer
}

// A CA is a running certificate authority.
type CA struct {
	issuer   *pebbleca.CAImpl
	server   *http.Server
	addr     string
	rootPEM  []byte
	rootPool *x509.CertPool
	done     chan struct{}
}

// Start runs a CA on a free port of 127.0.0.1. The caller must Close it.
func Start(opts Options) (*CA, error) {
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	logger := log.New(opts.Log, "pebble ", log.Lmicroseconds)
	c := &CA{done: make(chan struct{})}
	handler, err := c.pebble(opts, logger)
	if err != nil {
		return nil, fmt.Errorf("starting test CA: %w", err)
	}
	if opts.Wrap != nil {
		handler = opts.Wrap(handler)
	}
	identity, err := newIdentity()
	if err != nil {
		return nil, fmt.Errorf("starting test CA: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting test CA: %w", err)
	}
	c.addr = listener.Addr().String()
	c.rootPEM, c.rootPool = identity.rootPEM, identity.rootPool
	c.server = &http.Server{
		Handler:           handler,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{identity.server}},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          logger,
	}
	go func() {
		defer close(c.done)
		c.server.ServeTLS(listener, "", "") // always returns ErrServerClosed, from Close
	}()
	return c, nil
}

// pebble puts Pebble's parts together as its own command does.
func (c *CA) pebble(opts Options, logger *log.Logger) (http.Handler, error) {
	switch opts.KeyAlgorithm {
	case "":
		opts.KeyAlgorithm = "ecdsa"
	case "ecdsa", "rsa":
	default:
		return nil, fmt.Errorf("key algorithm %q is neither ecdsa nor rsa", opts.KeyAlgorithm)
	}
	store := db.NewMemoryStore()
	for id, key := range opts.EABKeys {
		if err := store.AddExternalAccountKeyByID(id, key); err != nil {
			return nil, fmt.Errorf("EAB key %q: %w", id, err)
		}
	}
	for _, name := range opts.Blocklist {
		if err := store.AddBlockedDomain(name); err != nil {
			return nil, fmt.Errorf("blocklist: %w", err)
		}
	}
	profiles := map[string]pebbleca.Profile{
		"default": {Description: "The only profile", ValidityPeriod: uint64(opts.Validity / time.Second)},
	}

	restore := setEnvironment(opts)
	defer restore()
	const strict = true
	c.issuer = pebbleca.New(logger, store, "", opts.KeyAlgorithm, opts.AlternateRoots, max(1, opts.ChainLength), profiles)
	validator := va.New(logger, 0, 0, strict, opts.Resolver, store)
	front := wfe.New(logger, store, validator, c.issuer, []string{"pebble.letsencrypt.org"}, strict,
		len(opts.EABKeys) > 0, opts.RetryAfterAuthz, opts.RetryAfterOrder)
	return front.Handler(), nil
}

// Directory returns the URL of the ACME directory.
func (c *CA) Directory() string { return "https://" + c.addr + wfe.DirectoryPath }

// RootPEM returns the root of the CA's own HTTPS certificate. It issues nothing else.
func (c *CA) RootPEM() []byte { return c.rootPEM }

// HTTPClient returns a client that trusts the CA's HTTPS certificate and nothing else. Each call makes a new one.
func (c *CA) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: c.rootPool},
		ForceAttemptHTTP2: true,
	}}
}

// IssuerRoots returns the roots that the issued certificates chain to.
func (c *CA) IssuerRoots() *x509.CertPool {
	pool := x509.NewCertPool()
	for i := range c.issuer.GetNumberOfRootCerts() {
		pool.AddCert(c.issuer.GetRootCert(i).Cert)
	}
	return pool
}

// Close stops the CA at once, with all its connections, and waits for its listener to end.
func (c *CA) Close() error {
	err := c.server.Close()
	<-c.done
	return err
}
