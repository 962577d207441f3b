//go:build linux

package test

import (
	"crypto/x509"
	"testing"

	"cnamed/test/postgres"
	"cnamed/test/program"
	"cnamed/test/world"
)

// TestServersShareTheirCertificate: the first server obtains it; the second, of
// which the CA knows nothing, has it without asking the CA, which is gone by then.
func TestServersShareTheirCertificate(t *testing.T) {
	t.Parallel()
	required(t, postgres.Binaries() != "", "there is no PostgreSQL")
	ctx := testContext(t)
	database, err := postgres.Start(ctx, "max_connections=40")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
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
