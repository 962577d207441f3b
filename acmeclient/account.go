package acmeclient

import (
	"context"
	"errors"
	"fmt"
)

// ErrNoAccount is returned when the CA knows no account with the client's key. [Client.Register] makes one.
var ErrNoAccount = errors.New("the CA has no account with this key")

// An Account is the CA's view of the client's key (RFC 8555 §7.1.2).
type Account struct {
	URL                  string   `json:"-"`
	Status               Status   `json:"status"`
	Contact              []string `json:"contact"`
	TermsOfServiceAgreed bool     `json:"termsOfServiceAgreed"`
}

// An AccountRequest says how to register.
type AccountRequest struct {
	// Contact are URLs, "mailto:hostmaster@example.com". May be empty.
	Contact []string

	// TermsAgreed is the person's agreement to the terms at Directory.Meta.TermsOfService. Without it most CAs refuse.
	TermsAgreed bool

	// EAB binds the account to one that the person has with the CA beforehand. Nil: none.
	EAB *EAB
}

type newAccount struct {
	Contact              []string  `json:"contact,omitempty"`
	TermsOfServiceAgreed bool      `json:"termsOfServiceAgreed,omitempty"`
	OnlyReturnExisting   bool      `json:"onlyReturnExisting,omitempty"`
	EAB                  *boundKey `json:"externalAccountBinding,omitempty"`
}

// Register makes an account with the client's key. Where the key has one already, that account is returned as it is
// (RFC 8555 §7.3.1), and the request has no effect.
func (c *Client) Register(ctx context.Context, req AccountRequest) (*Account, error) {
	d, err := c.Discover(ctx)
	if err != nil {
		return nil, err
	}
	payload := newAccount{Contact: req.Contact, TermsOfServiceAgreed: req.TermsAgreed}
	if req.EAB != nil {
		if payload.EAB, err = c.bind(req.EAB, d.NewAccount); err != nil {
			return nil, fmt.Errorf("registering account: %w", err)
		}
	}
	account, err := c.newAccount(ctx, d.NewAccount, payload)
	if err != nil {
		return nil, fmt.Errorf("registering account: %w", err)
	}
	return account, nil
}

// Lookup returns the account with the client's key, and ErrNoAccount when there is none. It makes none.
func (c *Client) Lookup(ctx context.Context) (*Account, error) {
	d, err := c.Discover(ctx)
	if err != nil {
		return nil, err
	}
	account, err := c.newAccount(ctx, d.NewAccount, newAccount{OnlyReturnExisting: true})
	if IsProblem(err, ProblemAccountDoesNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNoAccount, err)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up account: %w", err)
	}
	return account, nil
}

func (c *Client) newAccount(ctx context.Context, url string, payload newAccount) (*Account, error) {
	res, err := c.postAs(ctx, "", url, payload, "")
	if err != nil {
		return nil, err
	}
	account := &Account{URL: res.location()}
	if err := res.decode(account); err != nil {
		return nil, err
	}
	if account.URL == "" {
		return nil, res.unexpected("no Location with the account's URL")
	}
	if account.Status == StatusDeactivated || account.Status == StatusRevoked {
		return nil, fmt.Errorf("account %s is %s", account.URL, account.Status)
	}
	c.mu.Lock()
	c.account = account.URL
	c.mu.Unlock()
	return account, nil
}

// accountURL is the key identifier of signed requests. It is looked up once, by whichever call needs it first.
func (c *Client) accountURL(ctx context.Context) (string, error) {
	c.init()
	if err := c.accountGate.enter(ctx); err != nil {
		return "", fmt.Errorf("looking up account: %w", err)
	}
	defer c.accountGate.leave()
	c.mu.Lock()
	url := c.account
	c.mu.Unlock()
	if url != "" {
		return url, nil
	}
	account, err := c.Lookup(ctx)
	if err != nil {
		return "", err
	}
	return account.URL, nil
}
