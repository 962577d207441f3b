//go:build unix

package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	testserver "cnamed/test/postgres"
)

// authority is a CA of a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// sign makes a certificate by a, or a CA of its own when a is nil.
func (a *authority) sign(t *testing.T, names ...string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names,
		IsCA: a == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	parent, by := template, key
	if a == nil {
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		parent, by = a.certificate, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key}
}

func (a *authority) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

func (a *authority) keyPEM(t *testing.T) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (a *authority) file(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, a.certPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestConnectionIsVerified: with verify-full a node talks to the server that the CA
// knows by this name, all its connections are encrypted, and to no other.
func TestConnectionIsVerified(t *testing.T) {
	t.Parallel()
	place(t) // skips where there is no PostgreSQL
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := testserver.Start(ctx, "max_connections=20")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	var none *authority
	ca, other := none.sign(t), none.sign(t)
	leaf := ca.sign(t, "localhost")
	port, err := server.ListenTLS(ctx, leaf.certPEM(), leaf.keyPEM(t))
	if err != nil {
		t.Fatal(err)
	}
	connection := func(host, mode, root string) string {
		u := url.URL{Scheme: "postgres", User: url.User("acmedns"), Host: net.JoinHostPort(host, port), Path: "postgres",
			RawQuery: url.Values{"sslmode": {mode}, "sslrootcert": {root}}.Encode()}
		return u.String()
	}

	n := startNode(t, connection("localhost", "verify-full", ca.file(t)), "cnamed")
	if _, err := n.Register(ctx, nil); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, connection("localhost", "verify-full", ca.file(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var connections, encrypted int
	err = conn.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
		WHERE application_name LIKE 'cnamed %'`).Scan(&connections, &encrypted)
	if err != nil || connections < 2 || encrypted != connections {
		t.Errorf("%d connections, %d of them encrypted; %v", connections, encrypted, err)
	}

	for name, test := range map[string]struct{ connection, says, hint string }{
		"another CA":   {connection("localhost", "verify-full", other.file(t)), "signed by unknown authority", "sslrootcert="},
		"another name": {connection("127.0.0.1", "verify-full", ca.file(t)), "127.0.0.1", "sslrootcert="},
		"no TLS":       {connection("localhost", "disable", ""), "no pg_hba.conf entry", "pg_hba.conf"},
		"no CA file":   {connection("localhost", "verify-full", filepath.Join(t.TempDir(), "nowhere.pem")), "nowhere.pem", ""},
	} {
		_, err := Open(ctx, test.connection, Options{})
		var hinted interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), test.says) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), test.hint) {
			t.Errorf("%s: %v, %v", name, err, hinted)
		}
	}
}
