package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"cnamed/acmeclient"
	"cnamed/config"
	"cnamed/registry"
)

// errNoCertificate ends handshakes until there is a certificate.
var errNoCertificate = errors.New("the API has no certificate yet")

// apiCertificates is where the certificate of the API comes from.
type apiCertificates interface {
	// TLSConfig is nil for plain HTTP.
	TLSConfig() *tls.Config

	// Serve keeps the certificate fresh until ctx ends.
	Serve(ctx context.Context) error
}

func newAPICertificates(c *config.Config, reg *registry.Registry, store registry.Store, log *slog.Logger) (apiCertificates, error) {
	switch c.API.TLS {
	case config.TLSNone:
		return plainHTTP{}, nil
	case config.TLSFile:
		return newFileCertificates(c.API.Cert, c.API.Key, log)
	default:
		return newACMECertificates(c, reg, store, log)
	}
}

type plainHTTP struct{}

func (plainHTTP) TLSConfig() *tls.Config          { return nil }
func (plainHTTP) Serve(ctx context.Context) error { <-ctx.Done(); return nil }

// currentCertificate is the certificate that new connections get. It is safe
// for concurrent use; connections that are open keep theirs.
type currentCertificate struct {
	current atomic.Pointer[tls.Certificate]
}

func (h *currentCertificate) TLSConfig() *tls.Config {
	return tlsConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if certificate := h.current.Load(); certificate != nil {
			return certificate, nil
		}
		return nil, errNoCertificate
	})
}

func tlsConfig(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: get,
	}
}

// fileInterval is how often, at most, the files are looked at.
const fileInterval = time.Second

// fileCertificates serves a certificate from files, and reads them again when
// they have changed. A pair that does not fit, which is what half a replacement
// looks like, leaves the one before it in use.
type fileCertificates struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	seen    fileState // the zero value: unusable when last looked at
	current *tls.Certificate
}

// fileState is what a replacement of the two files changes.
type fileState struct{ cert, key os.FileInfo }

func (s fileState) same(t fileState) bool {
	return s.cert != nil && t.cert != nil && sameFile(s.cert, t.cert) && sameFile(s.key, t.key)
}

func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func newFileCertificates(certFile, keyFile string, log *slog.Logger) (*fileCertificates, error) {
	f := &fileCertificates{certFile: certFile, keyFile: keyFile, log: log}
	if err := f.read(); err != nil {
		return nil, withHint(fmt.Errorf("the API's certificate: %w", err),
			"--api-cert takes the full chain in PEM form, --api-key the private key that belongs to it; both must be readable by this user")
	}
	return f, nil
}

func (f *fileCertificates) Serve(ctx context.Context) error { <-ctx.Done(); return nil }

func (f *fileCertificates) TLSConfig() *tls.Config {
	return tlsConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.get(), nil })
}

// get returns the current certificate, after a look at the files where the last
// look is old enough.
func (f *fileCertificates) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < fileInterval {
		return f.current
	}
	before := f.current
	wasUsable := f.seen.cert != nil
	switch err := f.read(); {
	case err != nil && wasUsable:
		f.log.Warn("the API's certificate cannot be read again, the one before it stays", "err", err)
	case f.current != before:
		f.log.Info("the API's certificate was read again", "not_after", f.current.Leaf.NotAfter)
	}
	return f.current
}

// read loads the files where they are not what they were.
func (f *fileCertificates) read() error {
	f.looked = time.Now()
	state, err := f.look()
	if err == nil && state.same(f.seen) {
		return nil
	}
	f.seen = fileState{}
	if err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return err
	}
	f.seen, f.current = state, &certificate
	return nil
}

// look follows symbolic links, which is what certbot and ours replace.
func (f *fileCertificates) look() (state fileState, err error) {
	if state.cert, err = os.Stat(f.certFile); err != nil {
		return fileState{}, err
	}
	if state.key, err = os.Stat(f.keyFile); err != nil {
		return fileState{}, err
	}
	return state, nil
}

// caProblems finds what is wrong with the settings of the CA.
func caProblems(c *config.Config) config.Problems {
	if c.API.TLS == config.TLSFile || c.API.TLS == config.TLSNone || c.ACME.CA == "" {
		return nil
	}
	var problems config.Problems
	if _, err := acmeclient.DirectoryURL(c.ACME.CA); err != nil {
		problems = append(problems, c.Problem("acme.ca", 0, err))
	}
	if c.ACME.Root != "" {
		if _, err := readRoots(c.ACME.Root); err != nil {
			problems = append(problems, c.Problem("acme.ca-root", 0, err))
		}
	}
	return problems
}
