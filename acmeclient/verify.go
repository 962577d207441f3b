package acmeclient

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxSkew is how far this machine's clock may be behind the CA's. Most CAs date certificates back by an hour for its sake, and
// some do not.
const maxSkew = 5 * time.Minute

// verify checks that the CA issued what was asked for. It does not check that the root is trusted: that is for those who will
// be shown the certificate.
func verify(chain []*x509.Certificate, key crypto.PublicKey, names []string, now time.Time) error {
	leaf := chain[0]
	if !samePublicKey(leaf.PublicKey, key) {
		return errors.New("the certificate is for another key than the requested one")
	}
	if leaf.IsCA {
		return errors.New("the certificate is a CA's")
	}
	if err := verifyNames(leaf, names); err != nil {
		return err
	}
	for i, certificate := range chain {
		if err := verifyValidity(certificate, now); err != nil {
			return fmt.Errorf("certificate %d of the chain (%s): %w", i+1, subject(certificate), err)
		}
		if i+1 == len(chain) {
			break
		}
		if err := certificate.CheckSignatureFrom(chain[i+1]); err != nil {
			return fmt.Errorf("certificate %d of the chain (%s) is not signed by the next one (%s): %w",
				i+1, subject(certificate), subject(chain[i+1]), err)
		}
	}
	return nil
}

func verifyNames(leaf *x509.Certificate, names []string) error {
	if len(leaf.IPAddresses)+len(leaf.EmailAddresses)+len(leaf.URIs) > 0 {
		return errors.New("the certificate has alternative names that are not DNS names")
	}
	got := make([]string, 0, len(leaf.DNSNames))
	for _, name := range leaf.DNSNames {
		got = append(got, strings.ToLower(name))
	}
	if missing := without(names, got); len(missing) > 0 {
		return fmt.Errorf("the certificate lacks %s", strings.Join(missing, ", "))
	}
	if surplus := without(got, names); len(surplus) > 0 {
		return fmt.Errorf("the certificate has %s, which was not requested", printable(strings.Join(surplus, ", "), 500))
	}
	return nil
}

func without(names, those []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(those, name) })
}

func verifyValidity(certificate *x509.Certificate, now time.Time) error {
	const form = time.RFC3339
	switch {
	case now.Before(certificate.NotBefore.Add(-maxSkew)):
		return fmt.Errorf("it is valid from %s, and here it is %s: is this machine's clock right? (%v are tolerated)",
			certificate.NotBefore.UTC().Format(form), now.UTC().Format(form), maxSkew)
	case now.After(certificate.NotAfter):
		return fmt.Errorf("it expired at %s, and here it is %s: is this machine's clock right?",
			certificate.NotAfter.UTC().Format(form), now.UTC().Format(form))
	}
	return nil
}

func subject(certificate *x509.Certificate) string {
	if text := certificate.Subject.String(); text != "" {
		return printable(text, 100)
	}
	if len(certificate.DNSNames) > 0 {
		return printable(certificate.DNSNames[0], 100)
	}
	return "no subject"
}

func samePublicKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
