package test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cnamed/test/ca"
	"cnamed/test/program"
	"cnamed/test/world"
)

// handshake returns the certificate that an API shows, verified against roots.
func handshake(ctx context.Context, api string, roots *x509.CertPool) (*x509.Certificate, error) {
	_, address, _ := strings.Cut(api, "://")
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: world.Zone, RootCAs: roots}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// TestOwnCertificate: the server obtains the certificate of its API from the CA
// by a challenge in its own zone, renews it when half of its short life is over,
// serves the new one to new connections without a restart, and has it after one.
func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	w := start(t, world.Options{OwnCertificate: true, CA: ca.Options{Validity: 8 * time.Second}})
	var first *x509.Certificate
	eventually(t, func() (err error) {
		first, err = handshake(ctx, w.API(), w.CA.IssuerRoots())
		return err
	})
	if err := first.VerifyHostname(world.Zone); err != nil {
		t.Error(err)
	}
	eventually(t, func() error {
		next, err := handshake(ctx, w.API(), w.CA.IssuerRoots())
		if err == nil && next.SerialNumber.Cmp(first.SerialNumber) == 0 {
			err = errors.New("the first certificate is still served")
		}
		return err
	})
	info, err := os.Stat(filepath.Join(w.Data, "api", "live", world.Zone, "privkey.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("private key: %v %v", info, err)
	}
}

// TestOwnCertificateSurvivesARestartWithoutTheCA: what is on disk is served at once.
func TestOwnCertificateSurvivesARestartWithoutTheCA(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	w := start(t, world.Options{OwnCertificate: true})
	var before *x509.Certificate
	eventually(t, func() (err error) {
		before, err = handshake(ctx, w.API(), w.CA.IssuerRoots())
		return err
	})
	if err := w.Server.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.CA.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := handshake(ctx, w.API(), w.CA.IssuerRoots())
	if err != nil {
		t.Fatal(err)
	}
	if !after.Equal(before) {
		t.Error("another certificate is served")
	}
}

// TestCertificateFilesAreReadAgain: tls = file serves the new pair after both
// files changed, and the old one while only one has.
func TestCertificateFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	folder := t.TempDir()
	certFile, keyFile := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	cert1, key1, roots1 := selfSigned(t, 1)
	cert2, key2, roots2 := selfSigned(t, 2)
	put := func(file string, data []byte) {
		t.Helper()
		if err := os.WriteFile(file+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	put(certFile, cert1)
	put(keyFile, key1)
	s, err := program.Start(ctx, binary, program.Options{}, "--domain", world.Zone, "--ip", "127.0.0.1", "--data", t.TempDir(),
		"--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--api-tls", "file", "--api-cert", certFile, "--api-key", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, s)
	if _, err := handshake(ctx, s.API[0], roots1); err != nil {
		t.Fatal(err)
	}

	put(certFile, cert2)
	eventually(t, func() error {
		if _, err := handshake(ctx, s.API[0], roots1); err != nil {
			t.Fatalf("half a replacement took the API down: %v", err)
		}
		if !bytes.Contains([]byte(s.Log()), []byte("cannot be read again")) {
			return errors.New("the half replacement has not been seen")
		}
		return nil
	})
	put(keyFile, key2)
	eventually(t, func() error {
		_, err := handshake(ctx, s.API[0], roots2)
		return err
	})
}

func selfSigned(t *testing.T, serial int64) (cert, key []byte, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint(serial)}, DNSNames: []string{world.Zone},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), roots
}

// TestHealthCommand is the health check of a container, over TLS whose
// certificate no machine trusts.
func TestHealthCommand(t *testing.T) {
	t.Parallel()
	w := start(t, world.Options{OwnCertificate: true})
	eventually(t, func() error {
		_, err := handshake(testContext(t), w.API(), w.CA.IssuerRoots())
		return err
	})
	if out, err := w.Cnamed(testContext(t), "health", "--server", w.API()); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// As a container asks: by the settings of the server.
	_, address, _ := strings.Cut(w.API(), "://")
	cmd := exec.CommandContext(testContext(t), w.Binary, "health")
	cmd.Env = append(os.Environ(), "CNAMED_API_LISTEN="+address)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	cmd = exec.CommandContext(testContext(t), w.Binary, "health")
	cmd.Env = append(os.Environ(), "CNAMED_API_LISTEN="+address, "CNAMED_API_TLS=none")
	if err := cmd.Run(); err == nil {
		t.Error("plain HTTP to an HTTPS port is taken for healthy")
	}
}

// TestOwnCertificateFollowsTheCA: one from another CA than the configuration now
// names is replaced at once, not when it is due.
func TestOwnCertificateFollowsTheCA(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	w := start(t, world.Options{OwnCertificate: true})
	eventually(t, func() error {
		_, err := handshake(ctx, w.API(), w.CA.IssuerRoots())
		return err
	})
	if err := w.Server.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.CA.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.ReplaceCA(); err != nil {
		t.Fatal(err)
	}
	if err := w.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		_, err := handshake(ctx, w.API(), w.CA.IssuerRoots())
		return err
	})
}
