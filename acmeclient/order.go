package acmeclient

import (
	"context"
	"encoding/base64"
	"fmt"
)

// An Order is a request for one certificate (RFC 8555 §7.1.3).
type Order struct {
	URL            string       `json:"-"`
	Status         Status       `json:"status"`
	Identifiers    []Identifier `json:"identifiers"`
	Authorizations []string     `json:"authorizations"` // URLs
	Finalize       string       `json:"finalize"`       // URL
	Certificate    string       `json:"certificate"`    // URL, once Status is valid
	Error          *Problem     `json:"error"`
}

// An OrderRequest says what to order.
type OrderRequest struct {
	// Names as NormalizeNames returns them.
	Names []string
}

// maxAuthorizations bounds what an order can make this client fetch. The largest certificates have 1,000 names.
const maxAuthorizations = 2000

// NewOrder opens an order (RFC 8555 §7.4).
func (c *Client) NewOrder(ctx context.Context, req OrderRequest) (*Order, error) {
	d, err := c.Discover(ctx)
	if err != nil {
		return nil, err
	}
	payload := struct {
		Identifiers []Identifier `json:"identifiers"`
	}{}
	for _, name := range req.Names {
		payload.Identifiers = append(payload.Identifiers, Identifier{Type: "dns", Value: name})
	}
	res, err := c.post(ctx, d.NewOrder, payload, "")
	if err != nil {
		return nil, fmt.Errorf("opening order: %w", err)
	}
	order := &Order{URL: res.location()}
	if err := res.decode(order); err != nil {
		return nil, fmt.Errorf("opening order: %w", err)
	}
	switch {
	case order.URL == "":
		return nil, fmt.Errorf("opening order: %w", res.unexpected("no Location with the order's URL"))
	case order.Finalize == "" || len(order.Authorizations) == 0 || len(order.Authorizations) > maxAuthorizations:
		return nil, fmt.Errorf("opening order: %w", res.unexpected("not an order: no finalize URL, or no authorizations, or too many"))
	}
	return order, nil
}

// Order fetches the order at url.
func (c *Client) Order(ctx context.Context, url string) (*Order, error) {
	order, _, err := c.fetchOrder(ctx, url)
	return order, err
}

func (c *Client) fetchOrder(ctx context.Context, url string) (*Order, *response, error) {
	res, err := c.post(ctx, url, nil, "")
	if err != nil {
		return nil, nil, fmt.Errorf("fetching order: %w", err)
	}
	order := &Order{URL: url}
	if err := res.decode(order); err != nil {
		return nil, nil, fmt.Errorf("fetching order: %w", err)
	}
	return order, res, nil
}

// Finalize sends the certificate request, in DER, and waits until the CA has issued. The order that it returns is valid and
// has a Certificate. An order that the CA has not yet found ready, though all its authorizations are valid, is waited for.
func (c *Client) Finalize(ctx context.Context, order *Order, csr []byte) (*Order, error) {
	res, err := c.sendCSR(ctx, order, csr)
	if IsProblem(err, ProblemOrderNotReady) {
		// Also what a repeated request gets whose first reply was lost: then the order is past ready.
		var current *Order
		current, res, err = c.waitOrder(ctx, order.URL, nil, StatusPending)
		if err == nil && current.Status == StatusReady {
			res, err = c.sendCSR(ctx, order, csr)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("finalizing order: %w", err)
	}
	issued := &Order{URL: order.URL}
	if err := res.decode(issued); err != nil {
		return nil, fmt.Errorf("finalizing order: %w", err)
	}
	if issued.Status == StatusProcessing || issued.Status == StatusReady {
		if issued, _, err = c.waitOrder(ctx, order.URL, res, StatusProcessing, StatusReady); err != nil {
			return nil, fmt.Errorf("waiting for the certificate: %w", err)
		}
	}
	switch {
	case issued.Status == StatusValid && issued.Certificate != "":
		return issued, nil
	case issued.Error != nil:
		return nil, fmt.Errorf("finalizing order: %w", issued.Error)
	}
	return nil, fmt.Errorf("finalizing order: the CA left it %q, without a certificate or a reason", issued.Status)
}

func (c *Client) sendCSR(ctx context.Context, order *Order, csr []byte) (*response, error) {
	return c.post(ctx, order.Finalize, struct {
		CSR string `json:"csr"`
	}{base64.RawURLEncoding.EncodeToString(csr)}, "")
}

// WaitOrder polls while the order is pending or processing. What it returns is ready, valid or invalid.
func (c *Client) WaitOrder(ctx context.Context, url string) (*Order, error) {
	order, _, err := c.waitOrder(ctx, url, nil, StatusPending, StatusProcessing)
	return order, err
}

// waitOrder polls, after the last reply if there is one, while the order is in one of these states.
func (c *Client) waitOrder(ctx context.Context, url string, last *response, while ...Status) (order *Order, res *response, err error) {
	err = c.poll(ctx, last, func(ctx context.Context) (_ *response, settled bool, err error) {
		if order, res, err = c.fetchOrder(ctx, url); err != nil {
			return nil, false, err
		}
		for _, status := range while {
			if order.Status == status {
				return res, false, nil
			}
		}
		return res, true, nil
	})
	return order, res, err
}
