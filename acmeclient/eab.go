package acmeclient

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// An EAB is the key by which a CA recognises a customer: external account binding (RFC 8555 §7.3.4). It prints without its
// secret.
type EAB struct {
	KeyID string
	mac   []byte
}

// NewEAB takes the two strings that the CA hands out. The key is base64, URL-safe or not, padded or not.
func NewEAB(keyID, key string) (*EAB, error) {
	if keyID = strings.TrimSpace(keyID); keyID == "" {
		return nil, errors.New("EAB key identifier is empty")
	}
	plain := strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(strings.TrimSpace(key))
	mac, err := base64.RawURLEncoding.DecodeString(plain)
	if err != nil {
		return nil, errors.New("EAB key is not base64") // the decoder's error would quote the secret
	}
	// RFC 7518 §3.2 wants at least as many bits as the hash has, and go-jose insists. It also tells a truncated key.
	if len(mac) < 32 {
		return nil, fmt.Errorf("EAB key has %d bytes, HS256 needs 32 or more", len(mac))
	}
	return &EAB{KeyID: keyID, mac: mac}, nil
}

// String implements [fmt.Stringer] without the secret.
func (e EAB) String() string { return "EAB(" + e.KeyID + ")" }

// GoString implements [fmt.GoStringer] without the secret.
func (e EAB) GoString() string { return e.String() }

// LogValue implements [slog.LogValuer] without the secret.
func (e EAB) LogValue() slog.Value { return slog.StringValue(e.String()) }

// boundKey is a JWS in its flattened form, as a member of another message.
type boundKey = json.RawMessage

// bind signs the account's public key with the customer's MAC key, for one URL.
func (c *Client) bind(eab *EAB, newAccountURL string) (*boundKey, error) {
	if c.Key == nil {
		return nil, errors.New("the client has no account key")
	}
	account, err := json.Marshal(jose.JSONWebKey{Key: c.Key.Public()})
	if err != nil {
		return nil, fmt.Errorf("account key: %w", err)
	}
	opts := new(jose.SignerOptions).WithHeader("kid", eab.KeyID).WithHeader("url", newAccountURL)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: eab.mac}, opts)
	if err != nil {
		return nil, fmt.Errorf("signing external account binding: %w", err)
	}
	jws, err := signer.Sign(account)
	if err != nil {
		return nil, fmt.Errorf("signing external account binding: %w", err)
	}
	bound := boundKey(jws.FullSerialize())
	return &bound, nil
}
