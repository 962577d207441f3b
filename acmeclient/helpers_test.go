package acmeclient

import (
	"context"
	"crypto"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/ca"
)

// testDNS is a DNS server whose TXT records are set through the Solver interface.
type testDNS struct {
	addr string

	mu        sync.Mutex
	values    map[string][]string // by domain
	presented map[string]int
	cleaned   map[string]int
	present   func(ctx context.Context, domain string) error // replaces Present's success, if set and not nil
}

func startDNS(t testing.TB) *testDNS {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		t.Skipf("the port of TCP is taken for UDP: %v", err)
	}
	d := &testDNS{
		addr: listener.Addr().String(), values: make(map[string][]string),
		presented: make(map[string]int), cleaned: make(map[string]int),
	}
	for _, server := range []*dns.Server{{Listener: listener, Handler: d}, {PacketConn: packets, Handler: d}} {
		started, done := make(chan struct{}), make(chan error, 1)
		server.NotifyStartedFunc = func() { close(started) }
		go func() { done <- server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			server.Shutdown()
			<-done
		})
	}
	return d
}

func (d *testDNS) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	question := query.Question[0]
	domain := strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(question.Name), "_acme-challenge."), ".")
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, value := range d.values[domain] {
		header := dns.RR_Header{Name: question.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}
		reply.Answer = append(reply.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
	}
	w.WriteMsg(reply)
}

func (d *testDNS) Present(ctx context.Context, domain string, values []string) error {
	d.mu.Lock()
	d.presented[domain]++
	present := d.present
	d.mu.Unlock()
	if present != nil {
		if err := present(ctx, domain); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.values[domain] = append(d.values[domain], values...)
	return nil
}

func (d *testDNS) CleanUp(ctx context.Context, domain string, values []string) error {
	if ctx.Err() != nil {
		return errors.New("clean-up with a context that is over")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cleaned[domain]++
	d.values[domain] = slices.DeleteFunc(d.values[domain], func(v string) bool { return slices.Contains(values, v) })
	return nil
}

// checkTidy fails the test unless each Present had its CleanUp and no value is left.
func (d *testDNS) checkTidy(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for domain, n := range d.presented {
		if d.cleaned[domain] != n {
			t.Errorf("%s: presented %d times, cleaned up %d times", domain, n, d.cleaned[domain])
		}
		if left := d.values[domain]; len(left) > 0 {
			t.Errorf("%s: values are left: %q", domain, left)
		}
	}
}

func startCA(t testing.TB, opts ca.Options) *ca.CA {
	t.Helper()
	authority, err := ca.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := authority.Close(); err != nil {
			t.Error(err)
		}
	})
	return authority
}

func newKey(t testing.TB, kind KeyType) crypto.Signer {
	t.Helper()
	key, err := kind.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newClient returns a client of authority, without an account.
func newClient(t testing.TB, authority *ca.CA) *Client {
	client := authority.HTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	return &Client{Directory: authority.Directory(), Key: newKey(t, EC256), HTTPClient: client}
}

// newAccountClient returns a client with a fresh account.
func newAccountClient(t testing.TB, authority *ca.CA) *Client {
	t.Helper()
	c := newClient(t, authority)
	if _, err := c.Register(testContext(t), AccountRequest{TermsAgreed: true}); err != nil {
		t.Fatal(err)
	}
	return c
}

// testContext ends with the test, or when the test hangs.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
