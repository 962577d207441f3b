package acmeclient

import (
	"context"
	"fmt"
)

// ChallengeDNS01 is the type of the challenge that a TXT record answers (RFC 8555 §8.4).
const ChallengeDNS01 = "dns-01"

// A Challenge is one way to prove that the account holds a name (RFC 8555 §7.1.5).
type Challenge struct {
	Type   string   `json:"type"`
	URL    string   `json:"url"`
	Token  string   `json:"token"`
	Status Status   `json:"status"`
	Error  *Problem `json:"error"`
}

// AcceptChallenge tells the CA that everything is in place and that it may look (RFC 8555 §7.5.1).
func (c *Client) AcceptChallenge(ctx context.Context, challenge Challenge) (*Challenge, error) {
	accepted, _, err := c.acceptChallenge(ctx, challenge)
	return accepted, err
}

func (c *Client) acceptChallenge(ctx context.Context, challenge Challenge) (*Challenge, *response, error) {
	res, err := c.post(ctx, challenge.URL, struct{}{}, "")
	if err != nil {
		return nil, nil, fmt.Errorf("accepting challenge: %w", err)
	}
	accepted := new(Challenge)
	if err := res.decode(accepted); err != nil {
		return nil, nil, fmt.Errorf("accepting challenge: %w", err)
	}
	return accepted, res, nil
}
