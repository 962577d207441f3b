package acmeclient

import (
	"context"
	"net/http"
	"strings"
	"sync"
)

// maxNonces bounds the stock. More are never in use at once than requests are.
const maxNonces = 4 * maxInFlight

// maxBadNonce bounds how often one request is repeated because the CA did not like its nonce. A stock that has gone stale
// needs maxNonces repetitions at worst; and with a CA that refuses every second nonce on purpose, as Pebble can, one request
// in eight thousand million fails.
const maxBadNonce = maxNonces

// nonces is the stock of anti-replay nonces (RFC 8555 §6.5), filled from every reply. The newest leaves first, since CAs let
// the old ones expire.
type nonces struct {
	mu    sync.Mutex
	stock []string
}

func (n *nonces) put(nonce string) {
	if nonce == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.stock) == maxNonces {
		n.stock = append(n.stock[:0], n.stock[1:]...)
	}
	n.stock = append(n.stock, nonce)
}

func (n *nonces) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.stock) == 0 {
		return ""
	}
	last := len(n.stock) - 1
	nonce := n.stock[last]
	n.stock = n.stock[:last]
	return nonce
}

// newNonce asks for one (RFC 8555 §7.2). A refusal is a response, as with exchange; any other has a nonce.
func (c *Client) newNonce(ctx context.Context) (*response, error) {
	d, err := c.Discover(ctx)
	if err != nil {
		return nil, err
	}
	res, err := c.exchange(ctx, request{method: http.MethodHead, url: d.NewNonce})
	if err == nil && res.failure() == nil && res.nonce() == "" {
		return nil, res.unexpected("no usable Replay-Nonce in the reply")
	}
	return res, err
}

// nonce returns the reply's nonce, or "". RFC 8555 §6.5.1: invalid values must be ignored.
func (r *response) nonce() string {
	nonce := r.header.Get("Replay-Nonce")
	if len(nonce) > 512 || strings.Trim(nonce, base64URLAlphabet) != "" {
		return ""
	}
	return nonce
}

const base64URLAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
