package acmeclient

import (
	"context"
	"fmt"
	"strings"
)

// An Authorization is the CA's knowledge of whether the account holds a name (RFC 8555 §7.1.4).
type Authorization struct {
	URL        string      `json:"-"`
	Status     Status      `json:"status"`
	Identifier Identifier  `json:"identifier"` // without "*."
	Wildcard   bool        `json:"wildcard"`
	Challenges []Challenge `json:"challenges"`
}

// Name is the name as it was ordered, with its "*.".
func (a *Authorization) Name() string {
	if a.Wildcard {
		return "*." + a.Identifier.Value
	}
	return a.Identifier.Value
}

// Challenge returns the challenge of a type, such as "dns-01".
func (a *Authorization) Challenge(challengeType string) (Challenge, bool) {
	for _, challenge := range a.Challenges {
		if challenge.Type == challengeType {
			return challenge, true
		}
	}
	return Challenge{}, false
}

// failure says why an authorization that is settled is not valid. The CA puts its words into the challenge.
func (a *Authorization) failure() error {
	for _, challenge := range a.Challenges {
		if challenge.Error != nil {
			return challenge.Error
		}
	}
	return fmt.Errorf("its authorization is %s, and the CA does not say why", printable(string(a.Status), 50))
}

func (a *Authorization) offers() string {
	var types []string
	for _, challenge := range a.Challenges {
		types = append(types, printable(challenge.Type, 50))
	}
	return strings.Join(types, ", ")
}

// Authorization fetches the authorization at url (RFC 8555 §7.5).
func (c *Client) Authorization(ctx context.Context, url string) (*Authorization, error) {
	authorization, _, err := c.fetchAuthorization(ctx, url)
	return authorization, err
}

func (c *Client) fetchAuthorization(ctx context.Context, url string) (*Authorization, *response, error) {
	res, err := c.post(ctx, url, nil, "")
	if err != nil {
		return nil, nil, fmt.Errorf("fetching authorization: %w", err)
	}
	authorization := &Authorization{URL: url}
	if err := res.decode(authorization); err != nil {
		return nil, nil, fmt.Errorf("fetching authorization: %w", err)
	}
	if authorization.Identifier.Value == "" || authorization.Status == "" {
		return nil, nil, fmt.Errorf("fetching authorization: %w", res.unexpected("not an authorization: no identifier or no status"))
	}
	return authorization, res, nil
}

// WaitAuthorization polls while the authorization is pending. What it returns may be valid or not.
func (c *Client) WaitAuthorization(ctx context.Context, url string) (*Authorization, error) {
	return c.waitAuthorization(ctx, url, nil)
}

func (c *Client) waitAuthorization(ctx context.Context, url string, last *response) (authorization *Authorization, err error) {
	err = c.poll(ctx, last, func(ctx context.Context) (res *response, settled bool, err error) {
		authorization, res, err = c.fetchAuthorization(ctx, url)
		if err != nil {
			return nil, false, err
		}
		return res, authorization.Status != StatusPending && authorization.Status != StatusProcessing, nil
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for the validation: %w", err)
	}
	return authorization, nil
}

// DeactivateAuthorization gives an authorization up (RFC 8555 §7.5.2), so that it does not count as pending.
func (c *Client) DeactivateAuthorization(ctx context.Context, url string) error {
	_, err := c.post(ctx, url, struct {
		Status Status `json:"status"`
	}{StatusDeactivated}, "")
	if err != nil {
		return fmt.Errorf("deactivating authorization: %w", err)
	}
	return nil
}
