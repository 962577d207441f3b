package world

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// Check does what a TLS client would do with the certificate and the chain in a
// PEM file: it verifies them for each name, against the roots of the CA. It
// returns the certificate.
func (w *World) Check(fullchain string, names ...string) (*x509.Certificate, error) {
	data, err := os.ReadFile(fullchain)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", fullchain)
	}
	return chain[0], w.Verify(chain, names...)
}

// Verify is Check of a chain that is in memory, the certificate first.
func (w *World) Verify(chain []*x509.Certificate, names ...string) error {
	options := x509.VerifyOptions{Roots: w.CA.IssuerRoots(), Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	var errs []error
	for _, name := range names {
		options.DNSName = name
		_, err := chain[0].Verify(options)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
