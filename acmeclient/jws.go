package acmeclient

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
)

// post sends a JWS signed by the account, which is looked up at the first need. A nil payload makes it a POST-as-GET (RFC
// 8555 §6.3). As with attempt, a refusal is an error and comes with the response.
func (c *Client) post(ctx context.Context, url string, payload any, accept string) (*response, error) {
	account, err := c.accountURL(ctx)
	if err != nil {
		return nil, err
	}
	return c.postAs(ctx, account, url, payload, accept)
}

// postAs signs with kid, or when that is empty with the key itself in the header. A badNonce is answered with the nonce that
// came with it, the newest of the stock (RFC 8555 §6.5).
func (c *Client) postAs(ctx context.Context, kid, url string, payload any, accept string) (*response, error) {
	body := []byte{}
	if payload != nil {
		var err error
		if body, err = json.Marshal(payload); err != nil {
			return nil, fmt.Errorf("encoding request: %w", err)
		}
	}
	for rejected := 0; ; rejected++ {
		res, err := c.attempt(ctx, func(ctx context.Context) (*response, error) {
			return c.postOnce(ctx, kid, url, body, accept)
		})
		if !IsProblem(err, ProblemBadNonce) || rejected == maxBadNonce {
			return res, err
		}
	}
}

func (c *Client) postOnce(ctx context.Context, kid, url string, payload []byte, accept string) (*response, error) {
	nonce := c.nonces.take()
	if nonce == "" {
		res, err := c.newNonce(ctx)
		if err != nil || res.failure() != nil {
			return res, err
		}
		nonce = res.nonce()
	}
	jws, err := c.sign(kid, url, nonce, payload)
	if err != nil {
		return nil, err
	}
	res, err := c.exchange(ctx, request{method: http.MethodPost, url: url, body: jws, accept: accept})
	if err == nil {
		c.nonces.put(res.nonce())
	}
	return res, err
}

// sign makes the JWS of RFC 8555 §6.2. The payload may be empty, and not nil: go-jose would leave it out.
func (c *Client) sign(kid, url, nonce string, payload []byte) ([]byte, error) {
	if c.Key == nil {
		return nil, errors.New("the client has no account key")
	}
	alg, err := algorithm(c.Key.Public())
	if err != nil {
		return nil, err
	}
	opts := new(jose.SignerOptions).WithHeader("url", url).WithHeader("nonce", nonce)
	opts.EmbedJWK = kid == ""
	key := jose.JSONWebKey{Key: cryptosigner.Opaque(c.Key), KeyID: kid}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		return nil, fmt.Errorf("signing request: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return nil, fmt.Errorf("signing request: %w", err)
	}
	return []byte(jws.FullSerialize()), nil
}

// algorithm chooses by the key, among those that CAs take.
func algorithm(public crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		}
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 {
			return jose.RS256, nil
		}
	}
	return "", fmt.Errorf("account key (%T) is neither ECDSA on P-256 or P-384 nor RSA of 2048 bits or more", public)
}

// thumbprint of the account key (RFC 7638), in base64url.
func (c *Client) thumbprint() (string, error) {
	key := jose.JSONWebKey{Key: c.Key.Public()}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("account key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// DNS01Value returns what the TXT record of a dns-01 challenge with this token must hold (RFC 8555 §8.4): the hash of the
// token and the account key. It asks nobody.
func (c *Client) DNS01Value(token string) (string, error) {
	if token == "" {
		return "", errors.New("challenge has no token")
	}
	thumbprint, err := c.thumbprint()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(token + "." + thumbprint))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
