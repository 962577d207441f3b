package acmeclient

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// A Request says what Obtain shall obtain, and by whose help.
type Request struct {
	// Names of the certificate, as NormalizeNames takes them.
	Names []string

	// Key of the certificate. It must not be the account's (RFC 8555 §11.1).
	Key crypto.Signer

	// Solver answers the challenges.
	Solver Solver

	// Observe is told of progress, by one call at a time and not always from the same goroutine. It may be nil.
	Observe func(Event)
}

// Obtain does all that it takes to get one certificate: it opens an order, has the solver answer the challenges of all domains
// at once, finalizes, downloads, and verifies that the certificate is for the key and for exactly the names, that each
// certificate of the chain is signed by the next, and that all are valid now.
//
// The account must exist: see [Client.Register]. Where domains fail, the error is made of one [*DomainError] for each of them.
// Solver.CleanUp has returned for every domain when Obtain returns, which is at most a few seconds after ctx ends.
func (c *Client) Obtain(ctx context.Context, req Request) (*Certificate, error) {
	names, err := NormalizeNames(req.Names)
	if err != nil {
		return nil, err
	}
	csr, err := c.certificateRequest(req.Key, names)
	if err != nil {
		return nil, fmt.Errorf("making the certificate request: %w", err)
	}
	if req.Solver == nil {
		return nil, errors.New("no solver for the challenges")
	}
	order, err := c.NewOrder(ctx, OrderRequest{Names: names})
	if err != nil {
		return nil, err
	}
	work := &solving{client: c, solver: req.Solver, observe: req.Observe}
	for _, name := range names {
		work.domains = append(work.domains, BaseDomain(name))
	}
	defer work.wait()
	work.event(Event{Kind: OrderOpened, URL: order.URL})
	if err := work.solve(ctx, order); err != nil {
		return nil, err
	}

	work.event(Event{Kind: OrderFinalizing, URL: order.URL})
	issued, err := c.Finalize(ctx, order, csr)
	if err != nil {
		return nil, err
	}
	certificate, err := c.FetchCertificate(ctx, issued.Certificate)
	if err != nil {
		return nil, err
	}
	work.event(Event{Kind: CertificateDownloaded, URL: certificate.URL})
	chain := append([]*x509.Certificate{certificate.Leaf}, certificate.Chain...)
	if err := verify(chain, req.Key.Public(), names, time.Now()); err != nil {
		return nil, fmt.Errorf("the CA issued something else than was ordered: %w", err)
	}
	certificate.Key = req.Key
	return certificate, nil
}

// certificateRequest makes a CSR in DER. Its common name stays empty: the names are in the extension alone (RFC 8555 §7.4
// allows either).
func (c *Client) certificateRequest(key crypto.Signer, names []string) ([]byte, error) {
	switch {
	case key == nil:
		return nil, errors.New("no key")
	case c.Key == nil:
		return nil, errors.New("the client has no account key")
	case samePublicKey(key.Public(), c.Key.Public()):
		return nil, errors.New("the account's key must not be the certificate's")
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
}
