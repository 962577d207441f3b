//go:build linux

package test

import (
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cnamed/test/ca"
	"cnamed/test/program"
	"cnamed/test/world"
)

// TestServersShareTheirCertificate: the first server obtains it; the second, of
// which the CA knows nothing, has it without asking the CA, which is gone by then.
func TestServersShareTheirCertificate(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	database := startDatabase(t)
	process := program.Options{Env: []string{"CNAMED_DATABASE=" + database.URL()}}
	w := start(t, world.Options{OwnCertificate: true, Process: process})
	var first *x509.Certificate
	eventually(t, func() (err error) {
		first, err = handshake(ctx, w.API(), w.CA.IssuerRoots())
		return err
	})
	if err := w.CA.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := program.Start(ctx, binary, process, "--domain", world.Zone, "--ip", "127.0.0.1", "--data", t.TempDir(),
		"--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0",
		"--api-tls", "acme", "--acme-ca", w.CA.Directory(), "--acme-ca-root", w.CARoot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, second) })
	eventually(t, func() error {
		other, err := handshake(ctx, second.API[0], w.CA.IssuerRoots())
		if err == nil && !other.Equal(first) {
			t.Error("it has another certificate")
		}
		return err
	})
}

// TestRunningServersServeWhatOneRenews: the second server trusts another root than
// that of the CA's HTTPS, and so can obtain nothing itself. What it serves is from
// the first, the renewed certificate too, without a restart.
func TestRunningServersServeWhatOneRenews(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	database := startDatabase(t)
	process := program.Options{Env: []string{"CNAMED_DATABASE=" + database.URL()}}
	w := start(t, world.Options{OwnCertificate: true, CA: ca.Options{Validity: 12 * time.Second}, Process: process})
	served := func(api string, before *x509.Certificate) (now *x509.Certificate) {
		t.Helper()
		eventually(t, func() (err error) {
			now, err = handshake(ctx, api, w.CA.IssuerRoots())
			if err == nil && before != nil && !now.NotBefore.After(before.NotBefore) {
				err = errors.New("the certificate of before is still served")
			}
			return err
		})
		return now
	}
	served(w.API(), nil)
	wrongRoot := filepath.Join(t.TempDir(), "root.pem")
	certificate, _, _ := selfSigned(t, 1)
	write(t, wrongRoot, string(certificate))
	second, err := program.Start(ctx, binary, process, "--domain", world.Zone, "--ip", "127.0.0.1", "--data", t.TempDir(),
		"--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0",
		"--api-tls", "acme", "--acme-ca", w.CA.Directory(), "--acme-ca-root", wrongRoot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, second) })
	served(second.API[0], served(second.API[0], nil))
	if strings.Contains(second.Log(), "the API has a new certificate") {
		t.Error("it has obtained one itself")
	}
}
