package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"cnamed/acmeclient"
	"cnamed/acmeclient/certdir/durable"
)

// accountRequest says at which CA, and how, the ACME account is to be had.
type accountRequest struct {
	folder      string // the account's key is kept below it
	ca          string // preset or URL
	caRoot      string // PEM file, or empty
	email       string
	eab         *acmeclient.EAB
	agreesTerms bool
	say         func(format string, args ...any) // tells a person
	log         *slog.Logger
}

// openAccount returns a client that is logged in: with the key on disk, or with
// a new one that the CA has accepted and that is on disk before it is used.
func openAccount(ctx context.Context, r accountRequest) (*acmeclient.Client, error) {
	directory, err := acmeclient.DirectoryURL(r.ca)
	if err != nil {
		return nil, err
	}
	transport, err := httpClient(r.caRoot)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(r.folder, "accounts", accountFolder(directory))
	key, fresh, err := accountKey(filepath.Join(folder, "key.pem"))
	if err != nil {
		return nil, err
	}
	client := &acmeclient.Client{
		Directory: directory, Key: key, HTTPClient: transport, UserAgent: userAgent(), Log: r.log,
	}
	if !fresh {
		_, err := client.Lookup(ctx)
		if err == nil && (r.email != "" || r.eab != nil) {
			r.log.Debug("the account is there already; its contact and its external account stay as they are")
		}
		if err == nil || !errors.Is(err, acmeclient.ErrNoAccount) {
			return client, err
		}
	}
	if err := register(ctx, client, r); err != nil {
		return nil, err
	}
	r.say("made an account at %s", directory)
	return client, nil
}

// register makes the account; its key is on disk already.
func register(ctx context.Context, client *acmeclient.Client, r accountRequest) error {
	if !r.agreesTerms {
		d, err := client.Discover(ctx)
		if err != nil {
			return err
		}
		if terms := d.Meta.TermsOfService; terms != "" {
			return withHint(errors.New("the CA wants its terms of service agreed to before it makes an account"),
				fmt.Sprintf("read %s and repeat the command with --agree-tos", terms))
		}
	}
	request := acmeclient.AccountRequest{TermsAgreed: true, EAB: r.eab}
	if r.email != "" {
		request.Contact = []string{"mailto:" + r.email}
	}
	_, err := client.Register(ctx, request)
	return err
}

// accountKey returns the key in a PEM file, or makes both.
func accountKey(path string) (key crypto.Signer, fresh bool, err error) {
	data, err := os.ReadFile(path)
	if err == nil {
		if key, err = acmeclient.ParseKey(data); err != nil {
			err = withHint(fmt.Errorf("account key %s: %w", path, err), "put the right file back, or move it away to make a new account")
		}
		return key, false, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("reading account key: %w", err)
	}
	if key, err = acmeclient.EC256.Generate(); err != nil {
		return nil, false, err
	}
	if data, err = acmeclient.MarshalKey(key); err != nil {
		return nil, false, err
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, false, fmt.Errorf("writing account key: %w", err)
	}
	if err := durable.WriteFile(path, data, 0o600); err != nil {
		return nil, false, fmt.Errorf("writing account key: %w", err)
	}
	return key, true, nil
}

// accountFolder names the folder of a CA's account: readable, and different for
// directories that differ.
func accountFolder(directory string) string {
	host := "ca"
	if u, err := url.Parse(directory); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	sum := sha256.Sum256([]byte(directory))
	return fmt.Sprintf("%s-%s", host, hex.EncodeToString(sum[:4]))
}

// httpClient returns a client that trusts the roots in a PEM file, or the
// system's where none is named.
func httpClient(rootFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if rootFile != "" {
		roots, err := readRoots(rootFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	return &http.Client{Transport: transport, Timeout: time.Minute}, nil
}

func readRoots(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading roots: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, withHint(fmt.Errorf("%s holds no certificate", file), "it must be a PEM file: -----BEGIN CERTIFICATE-----")
	}
	return roots, nil
}
