package clients

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/acmedns"
	cpu "github.com/cpu/goacmedns"
	caddy "github.com/libdns/acmedns"
	"github.com/libdns/libdns"
	nrdcg "github.com/nrdcg/goacmedns"
	"github.com/nrdcg/goacmedns/storage"

	"cnamed/acmeclient"
	"cnamed/test/world"
)

// library is an acmeclient.Solver that leaves the work to a client library.
type library struct {
	set   func(ctx context.Context, domain, value string) error
	clean func(ctx context.Context, domain, value string) error // may be nil
}

func (l library) Present(ctx context.Context, domain string, values []string) error {
	return each(ctx, domain, values, l.set)
}

func (l library) CleanUp(ctx context.Context, domain string, values []string) error {
	if l.clean == nil {
		return nil
	}
	return each(ctx, domain, values, l.clean)
}

func each(ctx context.Context, domain string, values []string, do func(context.Context, string, string) error) error {
	for _, value := range values {
		if err := do(ctx, domain, value); err != nil {
			return err
		}
	}
	return nil
}

// obtain gets a certificate for both names by a solver, and verifies it. The CA
// validates as soon as the library has returned: nothing waits for the DNS.
func obtain(t *testing.T, w *world.World, solver acmeclient.Solver) {
	t.Helper()
	ctx := testContext(t)
	accountKey, err := acmeclient.EC256.Generate()
	if err != nil {
		t.Fatal(err)
	}
	client := &acmeclient.Client{Directory: w.CA.Directory(), Key: accountKey, HTTPClient: w.CA.HTTPClient()}
	if _, err := client.Register(ctx, acmeclient.AccountRequest{TermsAgreed: true}); err != nil {
		t.Fatal(err)
	}
	key, err := acmeclient.EC256.Generate()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := client.Obtain(ctx, acmeclient.Request{Names: []string{domain, "*." + domain}, Key: key, Solver: solver})
	if err != nil {
		t.Fatal(err)
	}
	chain := append([]*x509.Certificate{certificate.Leaf}, certificate.Chain...)
	if err := w.Verify(chain, domain, "any."+domain); err != nil {
		t.Fatal(err)
	}
	t.Logf("certificate for %v", certificate.Leaf.DNSNames)
}

// TestGoacmedns is what lego, Traefik and cert-manager use, with its file.
func TestGoacmedns(t *testing.T) {
	t.Parallel()
	w := start(t)
	client, err := nrdcg.NewClient(w.API())
	if err != nil {
		t.Fatal(err)
	}
	account, err := client.RegisterAccount(testContext(t), []string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	accounts := filepath.Join(w.Folder, "accounts.json")
	store := storage.NewFile(accounts, 0o600)
	if err := store.Put(t.Context(), domain, account); err != nil {
		t.Fatal(err)
	}
	if err := store.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	delegate(t, w, account.FullDomain)
	obtain(t, w, library{set: func(ctx context.Context, domain, value string) error {
		account, err := storage.NewFile(accounts, 0o600).Fetch(ctx, domain)
		if err != nil {
			return err
		}
		return client.UpdateTXTRecord(ctx, account, value)
	}})
}

// TestGoacmednsOld is what acme-dns-client, lego 3 and cert-manager 1.12 use. A
// base URL with a final slash makes it ask for //register and //update.
func TestGoacmednsOld(t *testing.T) {
	t.Parallel()
	w := start(t)
	client := cpu.NewClient(w.API() + "/")
	account, err := client.RegisterAccount([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	accounts := filepath.Join(w.Folder, "accounts.json")
	store := cpu.NewFileStorage(accounts, 0o600)
	if err := store.Put(domain, account); err != nil {
		t.Fatal(err)
	}
	if err := store.Save(); err != nil {
		t.Fatal(err)
	}
	delegate(t, w, account.FullDomain)
	obtain(t, w, library{set: func(_ context.Context, domain, value string) error {
		account, err := cpu.NewFileStorage(accounts, 0o600).Fetch(domain)
		if err != nil {
			return err
		}
		return client.UpdateTXTRecord(account, value)
	}})
}

// TestLibdns is what Caddy uses, with the credentials that cnamed wrote.
func TestLibdns(t *testing.T) {
	t.Parallel()
	w := start(t)
	credentials, err := os.ReadFile(register(t, w))
	if err != nil {
		t.Fatal(err)
	}
	var provider caddy.Provider
	if err := json.Unmarshal(credentials, &provider.Configs); err != nil {
		t.Fatal(err)
	}
	record := func(value string) []libdns.Record {
		return []libdns.Record{libdns.RR{Type: "TXT", Name: "_acme-challenge", Data: value}}
	}
	obtain(t, w, library{
		set: func(ctx context.Context, domain, value string) error {
			_, err := provider.AppendRecords(ctx, domain+".", record(value))
			return err
		},
		clean: func(ctx context.Context, domain, value string) error {
			_, err := provider.DeleteRecords(ctx, domain+".", record(value))
			return err
		},
	})
}

// TestCertManager is cert-manager's own provider, with the credentials that
// cnamed wrote as the secret.
func TestCertManager(t *testing.T) {
	t.Parallel()
	w := start(t)
	secret, err := os.ReadFile(register(t, w))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := certmanager.NewDNSProviderHostBytes(w.API(), secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	obtain(t, w, library{
		set: func(ctx context.Context, domain, value string) error {
			return provider.Present(ctx, domain, "_acme-challenge."+domain+".", value)
		},
		clean: func(ctx context.Context, domain, value string) error {
			return provider.CleanUp(ctx, domain, "_acme-challenge."+domain+".", value)
		},
	})
}
