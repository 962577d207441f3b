package acmeclient

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// issuer signs certificates for tests.
type issuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// issue signs template, by itself when by is nil.
func issue(t testing.TB, by *issuer, template *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	if by == nil {
		by = &issuer{template, key}
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func newIssuer(t testing.TB, by *issuer, name string, notBefore, notAfter time.Time) *issuer {
	t.Helper()
	key := newKey(t, EC256)
	return &issuer{issue(t, by, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: notBefore, NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, key), key}
}

func TestVerifyRefusesWhatWasNotOrdered(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	from, until := now.Add(-time.Hour), now.AddDate(0, 0, 90)
	root := newIssuer(t, nil, "Root", from, until)
	middle := newIssuer(t, root, "Middle", from, until)
	stranger := newIssuer(t, root, "Middle", from, until) // same name, other key
	expired := newIssuer(t, root, "Expired", from.AddDate(-1, 0, 0), from)
	key, otherKey := newKey(t, EC256), newKey(t, EC256)
	names := []string{"example.com", "*.example.com"}
	leaf := func(by *issuer, change func(*x509.Certificate)) *x509.Certificate {
		template := &x509.Certificate{DNSNames: []string{"*.example.com", "example.com"}, NotBefore: from, NotAfter: until}
		if change != nil {
			change(template)
		}
		return issue(t, by, template, key)
	}
	good := leaf(middle, nil)
	type certificates = []*x509.Certificate
	for name, test := range map[string]struct {
		chain certificates
		key   crypto.Signer
		want  string // part of the error; "" for none
	}{
		"good":               {certificates{good, middle.certificate}, key, ""},
		"good with its root": {certificates{good, middle.certificate, root.certificate}, key, ""},
		"upper case":         {certificates{leaf(middle, func(c *x509.Certificate) { c.DNSNames[0] = "*.EXAMPLE.com" })}, key, ""},
		"slow clock":         {certificates{leaf(middle, func(c *x509.Certificate) { c.NotBefore = now.Add(maxSkew) })}, key, ""},
		"other key":          {certificates{good, middle.certificate}, otherKey, "for another key"},
		"name lacks":         {certificates{leaf(middle, func(c *x509.Certificate) { c.DNSNames = c.DNSNames[:1] })}, key, "lacks example.com"},
		"name too many": {certificates{leaf(middle, func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "evil.example") })},
			key, "evil.example, which was not requested"},
		"address": {certificates{leaf(middle, func(c *x509.Certificate) { c.IPAddresses = []net.IP{{192, 0, 2, 1}} })},
			key, "not DNS names"},
		"is a CA": {certificates{leaf(middle, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })},
			key, "is a CA's"},
		"not yet valid": {certificates{leaf(middle, func(c *x509.Certificate) { c.NotBefore = now.Add(maxSkew + time.Second) })},
			key, "valid from 2026-11-23T12:05:01Z, and here it is 2026-11-23T12:00:00Z: is this machine's clock right? (5m0s are tolerated)"},
		"expired":              {certificates{leaf(middle, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })}, key, "expired at"},
		"other issuer's key":   {certificates{good, stranger.certificate}, key, "is not signed by the next one (CN=Middle)"},
		"gap in the chain":     {certificates{good, root.certificate}, key, "is not signed by the next one (CN=Root)"},
		"wrong order":          {certificates{good, root.certificate, middle.certificate}, key, "is not signed by the next one"},
		"expired intermediate": {certificates{leaf(expired, nil), expired.certificate}, key, "certificate 2 of the chain (CN=Expired): it expired at"},
		"leaf twice":           {certificates{good, good}, key, "is not signed by the next one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := verify(test.chain, test.key.Public(), names, now)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestChainHoldsCertificatesAndNothingElse(t *testing.T) {
	t.Parallel()
	now := time.Now()
	root := newIssuer(t, nil, "Root", now, now.AddDate(1, 0, 0))
	good := string(encodePEM(root.certificate))
	key, err := MarshalKey(root.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		data string
		want int // certificates; 0 for an error
	}{
		"one":              {good, 1},
		"two":              {good + good, 2},
		"blank lines":      {"\n" + good + "\r\n\n" + good + "\n\n", 2},
		"nothing":          {"", 0},
		"HTML":             {"<html></html>", 0},
		"private key":      {good + string(key), 0},
		"other PEM type":   {strings.ReplaceAll(good, "CERTIFICATE", "TRUSTED CERTIFICATE"), 0},
		"text at the end":  {good + "have a nice day", 0},
		"cut off":          {good + good[:len(good)-40], 0},
		"broken":           {strings.Replace(good, "MI", "MJ", 1), 0},
		"far too many":     {strings.Repeat(good, maxChain+1), 0},
		"as many as taken": {strings.Repeat(good, maxChain), maxChain},
	} {
		chain, err := parseChain([]byte(test.data))
		if (err == nil) != (test.want > 0) || len(chain) != test.want {
			t.Errorf("%s: %d certificates, error %v", name, len(chain), err)
		}
	}
}
