package acmeclient

import (
	"context"
	"fmt"
)

// A Directory is what a CA offers, and where (RFC 8555 §7.1.1).
type Directory struct {
	NewNonce   string `json:"newNonce"`
	NewAccount string `json:"newAccount"`
	NewOrder   string `json:"newOrder"`
	RevokeCert string `json:"revokeCert"`
	KeyChange  string `json:"keyChange"`

	Meta struct {
		// TermsOfService is the URL of the terms that Register agrees to. It may be empty.
		TermsOfService string `json:"termsOfService"`
		Website        string `json:"website"`
		// CAAIdentities are the names of this CA in CAA records.
		CAAIdentities []string `json:"caaIdentities"`
		// ExternalAccountRequired says that Register needs an EAB.
		ExternalAccountRequired bool `json:"externalAccountRequired"`
	} `json:"meta"`
}

// Discover returns the CA's directory. It is fetched once, at the first need of any method, and again after a failure.
func (c *Client) Discover(ctx context.Context) (*Directory, error) {
	c.init()
	if err := c.directoryGate.enter(ctx); err != nil {
		return nil, fmt.Errorf("fetching directory: %w", err)
	}
	defer c.directoryGate.leave()

	c.mu.Lock()
	known := c.directory
	c.mu.Unlock()
	if known == nil {
		fetched, err := c.fetchDirectory(ctx)
		if err != nil {
			return nil, fmt.Errorf("fetching directory: %w", err)
		}
		c.mu.Lock()
		c.directory = fetched
		c.mu.Unlock()
		known = fetched
	}
	d := *known
	return &d, nil
}

func (c *Client) fetchDirectory(ctx context.Context) (*Directory, error) {
	res, err := c.get(ctx, c.Directory)
	if err != nil {
		return nil, err
	}
	d := new(Directory)
	if err := res.decode(d); err != nil {
		return nil, err
	}
	if d.NewNonce == "" || d.NewAccount == "" || d.NewOrder == "" {
		return nil, res.unexpected("not an ACME directory: newNonce, newAccount or newOrder is missing")
	}
	return d, nil
}
