package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cnamed/acmeclient"
	"cnamed/acmeclient/certdir"
	"cnamed/test/ca"
	"cnamed/test/lab"
)

// shareCertificates is the part of a server that has the API's certificate, on a
// shared store.
func shareCertificates(t *testing.T, store *memoryStore) *acmeCertificates {
	t.Helper()
	a, err := newACMECertificates(settingsOn(t, nil), nil, store, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// filesFrom makes the files of a certificate that is so old, of a CA. It is valid
// for 90 days.
func filesFrom(t *testing.T, ca string, age time.Duration) certdir.Files {
	t.Helper()
	return filesFor(t, "auth.example.org", ca, age)
}

func filesFor(t *testing.T, domain, ca string, age time.Duration) certdir.Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{domain},
		NotBefore: time.Now().Add(-age), NotAfter: time.Now().Add(90*24*time.Hour - age)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	directory, err := acmeclient.DirectoryURL(ca)
	if err != nil {
		t.Fatal(err)
	}
	renewal, err := json.Marshal(origin{directory})
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certdir.Files{Cert: certificate, FullChain: certificate, Renewal: renewal,
		PrivKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})}
}

// put has files in the store, as another server would.
func put(t *testing.T, a *acmeCertificates, files certdir.Files) {
	t.Helper()
	if err := newSharedCertificate(a.shared.store, a.config.Domain).offer(t.Context(), files); err != nil {
		t.Fatal(err)
	}
}

// serves says whether new connections get the certificate of files.
func serves(t *testing.T, a *acmeCertificates, files certdir.Files) bool {
	t.Helper()
	c, err := a.read(files)
	if err != nil {
		t.Fatal(err)
	}
	current := a.current.Load()
	return current != nil && current.Leaf.Equal(c.pair.Leaf)
}

// serveCertificates keeps the certificate fresh until end is called, or the test
// is over.
func serveCertificates(t *testing.T, a *acmeCertificates) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return end
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for !ok() {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			t.Fatal(what)
		}
	}
}

// TestRunningServerTakesOverWhatAnotherRenewed: also the second time, and after
// the database was away.
func TestRunningServerTakesOverWhatAnotherRenewed(t *testing.T) {
	t.Parallel()
	store := newMemoryStore()
	a := shareCertificates(t, store)
	a.lookEvery = time.Millisecond
	await := func(files certdir.Files) {
		t.Helper()
		eventually(t, "it is not served", func() bool { return serves(t, a, files) })
	}
	first, second, third := filesFrom(t, "letsencrypt", 3*time.Hour), filesFrom(t, "letsencrypt", 2*time.Hour), filesFrom(t, "letsencrypt", time.Hour)
	put(t, a, first)
	end := serveCertificates(t, a)
	await(first)
	put(t, a, second)
	await(second)
	store.setFault(errors.New("away"))
	store.setFault(nil)
	put(t, a, third)
	await(third)
	end()
	if files, err := a.dir.Load(a.config.Domain); err != nil || string(files.FullChain) != string(third.FullChain) {
		t.Errorf("on the disk is another: %v", err)
	}
}

// blockSaves has Save fail, as where the disk is full, until the returned function
// is called.
func blockSaves(t *testing.T, a *acmeCertificates) (end func()) {
	t.Helper()
	obstacle := filepath.Join(a.dir.Path(), "archive", a.config.Domain)
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(obstacle); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTakenOverAlthoughItIsNotSaved: a disk that is full must not keep a server from
// the certificate of the others. It is on the disk as soon as that takes it.
func TestTakenOverAlthoughItIsNotSaved(t *testing.T) {
	t.Parallel()
	a := shareCertificates(t, newMemoryStore())
	var log bytes.Buffer
	a.log = slog.New(slog.NewTextHandler(&log, nil))
	files := filesFrom(t, "letsencrypt", time.Hour)
	put(t, a, files)
	unblock := blockSaves(t, a)
	if !a.takeOver(t.Context()) || !serves(t, a, files) {
		t.Fatal("it is not served")
	}
	if a.takeOver(t.Context()) {
		t.Error("it is taken over again and again")
	}
	if text := log.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "hint=\"make room") {
		t.Errorf("the log:\n%s", text)
	}
	unblock()
	a.log, a.lookEvery = slog.New(slog.DiscardHandler), time.Millisecond
	serveCertificates(t, a)
	eventually(t, "it is not saved later", func() bool { return saved(a, files) })
}

// saved says whether files are on the disk.
func saved(a *acmeCertificates, files certdir.Files) bool {
	got, err := a.dir.Load(a.config.Domain)
	return err == nil && bytes.Equal(got.PrivKey, files.PrivKey)
}

// TestCertificateThatCannotBeUsedIsReplaced: the one in the database, by a good one
// of this server, with one warning. Where there is none it stays, and is not served.
func TestCertificateThatCannotBeUsedIsReplaced(t *testing.T) {
	t.Parallel()
	text := func(files certdir.Files) string {
		t.Helper()
		text, err := json.Marshal(files)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	unusable := map[string]string{
		"damaged": "{", "empty": "{}", "of another domain": text(filesFor(t, "other.example.org", "letsencrypt", time.Minute)),
	}
	good, old := filesFrom(t, "letsencrypt", time.Hour), filesFrom(t, "letsencrypt", 91*24*time.Hour)
	for what, row := range unusable {
		for _, ours := range []*certdir.Files{nil, &good, &old} {
			a := shareCertificates(t, newMemoryStore())
			var log bytes.Buffer
			a.log = slog.New(slog.NewTextHandler(&log, nil))
			if ours != nil {
				if _, err := a.dir.Save(a.config.Domain, *ours); err != nil {
					t.Fatal(err)
				}
				if err := a.load(); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.shared.store.StoreSecret(t.Context(), a.shared.name, []byte(row)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if a.takeOver(t.Context()) {
					t.Errorf("one that is %s was taken over", what)
				}
			}
			if ours == nil && a.current.Load() != nil || ours != nil && !serves(t, a, *ours) {
				t.Errorf("%s: another is served", what)
			}
			got, err := a.shared.store.LoadSecret(t.Context(), a.shared.name)
			if replaced := strings.Contains(string(got), jsonBytes(t, good.PrivKey)); err != nil || replaced != (ours == &good) || !replaced && string(got) != row {
				t.Errorf("%s: ours is in the database: %v, %v", what, replaced, err)
			}
			if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), " hint=") {
				t.Errorf("%s: %d warnings:\n%s", what, n, log.String())
			}
		}
	}
}

// TestCertificateOnDiskOfAnotherDomain is not served.
func TestCertificateOnDiskOfAnotherDomain(t *testing.T) {
	t.Parallel()
	a := shareCertificates(t, newMemoryStore())
	if _, err := a.dir.Save(a.config.Domain, filesFor(t, "other.example.org", "letsencrypt", time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := a.load(); !errors.As(err, new(x509.HostnameError)) || a.current.Load() != nil {
		t.Errorf("it is used: %v", err)
	}
}

// TestExpiredCertificateGivesWay: also to one that was seen before, and was worse
// then.
func TestExpiredCertificateGivesWay(t *testing.T) {
	t.Parallel()
	a := shareCertificates(t, newMemoryStore())
	use := func(files certdir.Files) {
		t.Helper()
		c, err := a.read(files)
		if err != nil {
			t.Fatal(err)
		}
		a.use(c)
	}
	foreign := filesFrom(t, "letsencrypt-staging", time.Hour)
	put(t, a, foreign)
	use(filesFrom(t, "letsencrypt", time.Hour))
	if a.takeOver(t.Context()) {
		t.Error("that of another CA was taken over")
	}
	use(filesFrom(t, "letsencrypt", 91*24*time.Hour))
	if !a.takeOver(t.Context()) || !serves(t, a, foreign) {
		t.Error("one that has expired is served rather than that of another CA")
	}
}

// TestBetterCertificateIsKept: the newest of the configured CA, whoever has it.
func TestBetterCertificateIsKept(t *testing.T) {
	t.Parallel()
	const own, other = "letsencrypt", "letsencrypt-staging"
	age := func(hours int) time.Duration { return time.Duration(hours) * time.Hour }
	for _, test := range []struct {
		ours, theirs           string // its CA; "": there is none
		oursAge, theirsAge     time.Duration
		wantOurs, wantReplaced bool // the one in the database
	}{
		{own, own, age(2), age(1), false, false},
		{own, own, age(1), age(2), true, true},
		{own, "", age(1), 0, true, true},
		{other, "", age(1), 0, true, false},
		{"", other, 0, age(1), false, false},
		{own, other, age(2), age(1), true, false},
		{other, own, age(1), age(2), false, false},
		{own, other, age(91 * 24), age(1), false, false},
		{other, own, age(1), age(91 * 24), true, false},
		{own, "", age(91 * 24), 0, true, false},
	} {
		a := shareCertificates(t, newMemoryStore())
		var ours, theirs certdir.Files
		if test.ours != "" {
			ours = filesFrom(t, test.ours, test.oursAge)
			if _, err := a.dir.Save(a.config.Domain, ours); err != nil {
				t.Fatal(err)
			}
			if err := a.load(); err != nil {
				t.Fatal(err)
			}
		}
		if test.theirs != "" {
			theirs = filesFrom(t, test.theirs, test.theirsAge)
			put(t, a, theirs)
		}
		if took := a.takeOver(t.Context()); took == test.wantOurs {
			t.Errorf("%+v: took over: %v", test, took)
		}
		want := theirs
		if test.wantOurs {
			want = ours
		}
		if !serves(t, a, want) {
			t.Errorf("%+v: another is served", test)
		}
		text, err := a.shared.store.LoadSecret(t.Context(), a.shared.name)
		replaced := strings.Contains(string(text), jsonBytes(t, ours.PrivKey))
		if err != nil || test.ours != "" && replaced != test.wantReplaced {
			t.Errorf("%+v: ours is in the database: %v, %v", test, replaced, err)
		}
	}
}

// jsonBytes is how octets look in JSON.
func jsonBytes(t *testing.T, octets []byte) string {
	t.Helper()
	text, err := json.Marshal(octets)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// corpSolver puts challenges into a zone of ours.
type corpSolver struct{ corp *lab.Corp }

func (s corpSolver) Present(_ context.Context, domain string, values []string) error {
	var records []string
	for _, v := range values {
		records = append(records, fmt.Sprintf("_acme-challenge.%s. 1 TXT %q", domain, v))
	}
	return s.corp.Add(records...)
}

func (corpSolver) CleanUp(context.Context, string, []string) error { return nil }

// startCountingCA starts a CA for servers that connect prepares, and counts the
// orders there.
func startCountingCA(t *testing.T) (connect func(...*acmeCertificates), orders *atomic.Int32) {
	t.Helper()
	corp, err := lab.StartCorp("$ORIGIN auth.example.org.\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = corp.Close() })
	orders = new(atomic.Int32)
	authority, err := ca.Start(ca.Options{Resolver: corp.Addr(), Wrap: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/order-plz") {
				orders.Add(1)
			}
			h.ServeHTTP(w, r)
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = authority.Close() })
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, authority.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(servers ...*acmeCertificates) {
		for _, a := range servers {
			a.config.ACME.CA, a.config.ACME.Root, a.solver = authority.Directory(), root, corpSolver{corp}
			a.lookEvery = 10 * time.Millisecond
		}
	}, orders
}

// TestCertificateThatTheOthersLackIsServed: where the database is away in the
// moment in which a server has obtained a certificate, that server uses it, orders
// no other one, and gives it to the others later.
func TestCertificateThatTheOthersLackIsServed(t *testing.T) {
	t.Parallel()
	connect, orders := startCountingCA(t)
	store := newMemoryStore()
	a, b := shareCertificates(t, store), shareCertificates(t, store)
	connect(a, b)

	store.setFault(errors.New("away"))
	end := serveCertificates(t, a)
	eventually(t, "what was obtained is not served", func() bool { return a.current.Load() != nil })
	eventually(t, "it is not offered", store.hasRefused)
	if b.takeOver(t.Context()) {
		t.Error("the other server has it already")
	}
	store.setFault(nil)
	eventually(t, "the other server does not get it", func() bool { return b.takeOver(t.Context()) })
	end()
	if !b.current.Load().Leaf.Equal(a.current.Load().Leaf) || orders.Load() != 1 {
		t.Errorf("the servers have two certificates, or one of %d orders", orders.Load())
	}
}

// TestCertificateThatIsNotSavedIsServed: where the disk is full in the moment in
// which a server has obtained a certificate, that server uses it, gives it to the
// others, orders no other one, and saves it later.
func TestCertificateThatIsNotSavedIsServed(t *testing.T) {
	t.Parallel()
	connect, orders := startCountingCA(t)
	store := newMemoryStore()
	alone, err := newACMECertificates(settingsOn(t, nil), nil, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	a, b := shareCertificates(t, store), shareCertificates(t, store)
	connect(alone, a, b)
	for _, one := range []*acmeCertificates{alone, a} {
		orders.Store(0)
		unblock := blockSaves(t, one)
		end := serveCertificates(t, one)
		eventually(t, "what was obtained is not served", func() bool { return one.current.Load() != nil })
		if one == a {
			eventually(t, "the other server does not get it", func() bool { return b.takeOver(t.Context()) })
		}
		unblock()
		eventually(t, "it is not saved later", func() bool { _, err := one.dir.Load(one.config.Domain); return err == nil })
		end()
		if !saved(one, one.serving.files) || orders.Load() != 1 {
			t.Errorf("on the disk is another, or one of %d orders", orders.Load())
		}
	}
}
