package acmeclient

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cnamed/test/ca"
)

// obtain gets a certificate that must succeed, and checks it as a TLS client would.
func obtain(t *testing.T, c *Client, authority *ca.CA, solver Solver, names ...string) *Certificate {
	t.Helper()
	certificate, err := c.Obtain(testContext(t), Request{Names: names, Key: newKey(t, EC256), Solver: solver})
	if err != nil {
		t.Fatalf("Obtain(%q): %v", names, err)
	}
	pool := x509.NewCertPool()
	for _, intermediate := range certificate.Chain {
		pool.AddCert(intermediate)
	}
	for _, name := range names {
		name, _ := normalizeName(name)
		host := strings.Replace(name, "*", "some-host", 1)
		_, err := certificate.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: authority.IssuerRoots(), Intermediates: pool})
		if err != nil {
			t.Errorf("certificate for %q: %v", names, err)
		}
	}
	return certificate
}

func TestObtainApexAndWildcard(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr})
	certificate := obtain(t, newAccountClient(t, authority), authority, dns, "example.com", "*.example.com")
	if n := dns.presented["example.com"]; n != 1 {
		t.Errorf("Present was called %d times, want once with both values", n)
	}
	dns.checkTidy(t)
	if cn := certificate.Leaf.Subject.CommonName; cn != "" {
		t.Errorf("common name %q, want none", cn)
	}
	chain, err := parseChain(certificate.FullChainPEM())
	if err != nil || len(chain) != 2 || !chain[0].Equal(certificate.Leaf) || !chain[1].Equal(certificate.Chain[0]) {
		t.Errorf("full chain does not parse back: %d certificates, %v", len(chain), err)
	}
}

func TestObtainSeveralDomains(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr})
	names := []string{"example.com", "*.example.com", "example.net", "*.home.example.org", "münchen.example", "*.münchen.example"}
	certificate := obtain(t, newAccountClient(t, authority), authority, dns, names...)
	if !slices.Contains(certificate.Leaf.DNSNames, "xn--mnchen-3ya.example") {
		t.Errorf("names %q lack the Punycode of münchen.example", certificate.Leaf.DNSNames)
	}
	if len(dns.presented) != 4 {
		t.Errorf("presented %v, want four domains", dns.presented)
	}
	dns.checkTidy(t)
}

func TestObtainSurvivesBadNonces(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr, NonceRejectPercent: 50})
	c := newAccountClient(t, authority)
	for i := range 3 {
		domain := fmt.Sprintf("n%d.example.com", i)
		obtain(t, c, authority, dns, domain, "*."+domain)
	}
}

func TestObtainsRunInParallelOnOneClient(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr, NonceRejectPercent: 20})
	c := newAccountClient(t, authority)
	c.account, c.directory = "", nil // to be found again, by all at once
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			domain := fmt.Sprintf("p%d.example.com", i)
			names := []string{domain, "*." + domain}
			if _, err := c.Obtain(testContext(t), Request{Names: names, Key: newKey(t, EC256), Solver: dns}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	dns.checkTidy(t)
}

func TestObtainWithEveryKeyType(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr, KeyAlgorithm: "rsa"})
	// Pebble knows no ES384 accounts.
	for account, kinds := range map[KeyType][]KeyType{EC256: {EC256, EC384}, RSA2048: {RSA2048}} {
		c := newClient(t, authority)
		c.Key = newKey(t, account)
		if _, err := c.Register(testContext(t), AccountRequest{TermsAgreed: true}); err != nil {
			t.Fatalf("%s account: %v", account, err)
		}
		for _, kind := range kinds {
			names := []string{string(kind) + ".example.com"}
			if _, err := c.Obtain(testContext(t), Request{Names: names, Key: newKey(t, kind), Solver: dns}); err != nil {
				t.Errorf("%s certificate: %v", kind, err)
			}
		}
	}
}

func TestObtainReportsItsSteps(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr, ReuseAuthorizations: true})
	c := newAccountClient(t, authority)
	run := func() (steps []string) {
		_, err := c.Obtain(testContext(t), Request{
			Names: []string{"*.example.com"}, Key: newKey(t, EC256), Solver: dns,
			Observe: func(e Event) { steps = append(steps, strings.TrimSpace(e.Kind.String()+" "+e.Name)) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return steps
	}
	first := []string{
		"order-opened", "challenge-presenting example.com", "challenge-presented example.com",
		"challenge-accepted *.example.com", "authorization-valid *.example.com", "order-finalizing", "certificate-downloaded",
	}
	if got := run(); !slices.Equal(got, first) {
		t.Errorf("steps of the first:\n got %q\nwant %q", got, first)
	}
	// The authorization is reused, and then nothing is presented.
	second := []string{"order-opened", "authorization-reused *.example.com", "order-finalizing", "certificate-downloaded"}
	if got := run(); !slices.Equal(got, second) {
		t.Errorf("steps of the second:\n got %q\nwant %q", got, second)
	}
}

func TestObtainNamesEveryFailingDomain(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr})
	c := newAccountClient(t, authority)
	lost := &lossySolver{Solver: dns, loses: []string{"bad.example.com"}}
	dns.present = func(_ context.Context, domain string) error {
		if domain == "worse.example.com" {
			return errors.New("the name server is on fire")
		}
		return nil
	}
	names := []string{"good.example.com", "bad.example.com", "worse.example.com", "*.bad.example.com"}
	_, err := c.Obtain(testContext(t), Request{Names: names, Key: newKey(t, EC256), Solver: lost})
	if err == nil {
		t.Fatal("Obtain succeeded without the values of one domain")
	}
	for _, want := range []string{
		"*.bad.example.com: No TXT records found", "; bad.example.com: No TXT records found", "(unauthorized)",
		"worse.example.com: presenting the challenge: the name server is on fire",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "good.example.com") {
		t.Errorf("error names a domain that did not fail:\n%v", err)
	}
	all, ok := err.(interface{ Unwrap() []error })
	if !ok || len(all.Unwrap()) != 3 {
		t.Fatalf("error is not made of three: %#v", err)
	}
	for _, one := range all.Unwrap() {
		if _, ok := one.(*DomainError); !ok {
			t.Errorf("%#v is no DomainError", one)
		}
	}
	var problem *Problem
	if !errors.As(err, &problem) {
		t.Errorf("error carries no Problem: %#v", err)
	}
	dns.checkTidy(t)
}

// lossySolver presents nothing for some domains, and claims that it did.
type lossySolver struct {
	Solver
	loses []string
}

func (s *lossySolver) Present(ctx context.Context, domain string, values []string) error {
	if slices.Contains(s.loses, domain) {
		values = nil
	}
	return s.Solver.Present(ctx, domain, values)
}

func TestObtainNamesBlockedDomain(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr, Blocklist: []string{"blocked.example"}})
	c := newAccountClient(t, authority)
	_, err := c.Obtain(testContext(t), Request{
		Names: []string{"fine.example.com", "www.blocked.example"}, Key: newKey(t, EC256), Solver: dns,
	})
	const want = `opening order: Order included an identifier for which issuance is forbidden by policy: "www.blocked.example" ` +
		`(rejectedIdentifier); www.blocked.example: www.blocked.example is a forbidden domain (rejectedIdentifier)`
	if err == nil || err.Error() != want {
		t.Errorf("error:\n got %v\nwant %s", err, want)
	}
	if !IsProblem(err, ProblemRejectedIdentifier) {
		t.Error("the problem's type is lost")
	}
}

func TestObtainEndsPromptlyWhenCancelled(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	// The CA would validate after the values are there; it is never told, because Present waits.
	authority := startCA(t, ca.Options{Resolver: dns.addr})
	c := newAccountClient(t, authority)
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted by a person")
	dns.present = func(ctx context.Context, _ string) error {
		cancel(interrupted)
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := c.Obtain(ctx, Request{Names: []string{"example.com"}, Key: newKey(t, EC256), Solver: dns})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	dns.checkTidy(t)
}

func TestObtainWaitsThroughProcessing(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	var polls int
	var mu sync.Mutex
	authority := startCA(t, ca.Options{Resolver: dns.addr, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/my-order/") {
				next.ServeHTTP(w, r)
				return
			}
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			mu.Lock()
			polls++
			slow := polls <= 4
			mu.Unlock()
			body := recorded.Body.String()
			if slow {
				body = strings.Replace(body, `"status": "valid"`, `"status": "processing"`, 1)
			}
			for name, values := range recorded.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(recorded.Code)
			io.WriteString(w, body)
		})
	}})
	obtain(t, newAccountClient(t, authority), authority, dns, "example.com")
	if polls < 5 {
		t.Errorf("the order was polled %d times, and it was processing for 4", polls)
	}
}

func TestObtainOffersAlternateChains(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr, AlternateRoots: 2, ChainLength: 3})
	c := newAccountClient(t, authority)
	certificate := obtain(t, c, authority, dns, "example.com")
	if len(certificate.Chain) != 3 {
		t.Errorf("%d intermediates, want 3", len(certificate.Chain))
	}
	if len(certificate.Alternates) != 2 {
		t.Fatalf("alternates %q, want 2", certificate.Alternates)
	}
	other, err := c.FetchCertificate(testContext(t), certificate.Alternates[0])
	if err != nil {
		t.Fatal(err)
	}
	if !other.Leaf.Equal(certificate.Leaf) || other.Chain[1].Equal(certificate.Chain[1]) {
		t.Error("the alternate is not another chain for the same leaf")
	}
}

func TestObtainRefusesTheAccountKey(t *testing.T) {
	t.Parallel()
	c := &Client{Directory: "https://ca.invalid/directory", Key: newKey(t, EC256)}
	_, err := c.Obtain(t.Context(), Request{Names: []string{"example.com"}, Key: c.Key, Solver: new(testDNS)})
	if err == nil || !strings.Contains(err.Error(), "account's key") {
		t.Errorf("error %v", err)
	}
}

func TestObtainedCertificateIsForTheRequestedTime(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	authority := startCA(t, ca.Options{Resolver: dns.addr, Validity: 48 * time.Hour})
	leaf := obtain(t, newAccountClient(t, authority), authority, dns, "example.com").Leaf
	if got := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; got != 48*time.Hour {
		t.Errorf("lifetime %v, want 48h", got)
	}
	if got := RenewalTime(leaf).Sub(leaf.NotBefore); got != 24*time.Hour {
		t.Errorf("due after %v, want 24h", got)
	}
}
