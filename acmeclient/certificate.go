package acmeclient

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// A Certificate is what the CA issued.
type Certificate struct {
	Leaf  *x509.Certificate
	Chain []*x509.Certificate // intermediates, the leaf's issuer first

	// Key is the private key of the leaf. FetchCertificate, which does not know it, leaves it nil.
	Key crypto.Signer

	// URL is where the CA keeps it, and Alternates where it offers other chains for the same leaf. FetchCertificate gets them.
	URL        string
	Alternates []string
}

// LeafPEM returns the leaf alone.
func (c *Certificate) LeafPEM() []byte { return encodePEM(c.Leaf) }

// ChainPEM returns the intermediates alone. It is empty where a root signed the leaf.
func (c *Certificate) ChainPEM() []byte { return encodePEM(c.Chain...) }

// FullChainPEM returns the leaf and the intermediates, as a TLS server wants them.
func (c *Certificate) FullChainPEM() []byte { return append(c.LeafPEM(), c.ChainPEM()...) }

func encodePEM(certificates ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, certificate := range certificates {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
	}
	return out.Bytes()
}

// FetchCertificate downloads the certificate at url, with its chain (RFC 8555 §7.4.2). It does not verify them: Obtain does.
func (c *Client) FetchCertificate(ctx context.Context, url string) (*Certificate, error) {
	res, err := c.post(ctx, url, nil, "application/pem-certificate-chain")
	if err != nil {
		return nil, fmt.Errorf("downloading certificate: %w", err)
	}
	chain, err := parseChain(res.body)
	if err != nil {
		return nil, fmt.Errorf("downloading certificate: %w", res.unexpected(err.Error()))
	}
	return &Certificate{Leaf: chain[0], Chain: chain[1:], URL: url, Alternates: res.links("alternate")}, nil
}

// maxChain bounds the certificates of one chain.
const maxChain = 16

// parseChain reads application/pem-certificate-chain (RFC 8555 §9.1), which holds certificates and nothing else.
func parseChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block of type %q among the certificates", printable(block.Type, 50))
		}
		if len(chain) == maxChain {
			return nil, fmt.Errorf("more than %d certificates in the chain", maxChain)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %s", len(chain)+1, printable(err.Error(), 200))
		}
		chain = append(chain, certificate)
		data = rest
	}
	if len(bytes.TrimSpace(data)) > 0 {
		return nil, errors.New("something that is not a PEM certificate")
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate")
	}
	return chain, nil
}
