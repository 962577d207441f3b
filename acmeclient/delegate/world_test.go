package delegate

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cnamed/test/lab"
)

const (
	target    = "sub1.auth.example.org"
	challenge = "_acme-challenge.example.com."
	goodCNAME = challenge + " CNAME sub1.auth.example.org."
)

// The company has two name servers, and so has the challenge zone; dead is an address where nobody listens.
const (
	corpZone = `
$ORIGIN example.com.
@      SOA  ns1 hostmaster 1 60 60 60 5
@      NS   ns1
@      NS   ns2
ns1    A    192.0.2.1
ns2    A    192.0.2.2
ns2    AAAA 2001:db8::2
www    A    192.0.2.80
`
	authZone = `
$ORIGIN auth.example.org.
@      SOA  ns1 hostmaster 1 60 60 60 5
@      NS   ns1
@      NS   ns2
ns1    A    192.0.2.11
ns2    A    192.0.2.12
`
	viaZone = `
via.example.  SOA  ns1.example.com. hostmaster.via.example. 1 60 60 60 5
via.example.  NS   ns1.example.com.
`
	rootZone = `
.                      SOA  ns.root. admin.root. 1 60 60 60 5
.                      NS   ns.root.
ns.root.               A    192.0.2.100
example.com.           NS   ns1.example.com.
example.com.           NS   ns2.example.com.
ns1.example.com.       A    192.0.2.1
ns2.example.com.       A    192.0.2.2
auth.example.org.      NS   ns1.auth.example.org.
ns1.auth.example.org.  A    192.0.2.11
via.example.           NS   ns1.example.com.
`
)

// world is a small internet on loopback.
type world struct {
	corp1, corp2, auth1, auth2 *lab.Corp
	recursive                  *lab.Resolver
	checker                    *Checker // asks authorities directly
	through                    *Checker // asks the resolver alone
}

func startCorp(t *testing.T, zones ...string) *lab.Corp {
	t.Helper()
	c, err := lab.StartCorp(zones...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func newWorld(t *testing.T) *world {
	t.Helper()
	root := startCorp(t, rootZone)
	w := &world{
		corp1: startCorp(t, corpZone, viaZone), corp2: startCorp(t, corpZone),
		auth1: startCorp(t, authZone), auth2: startCorp(t, authZone),
	}
	real := map[string]string{
		"192.0.2.1": w.corp1.Addr(), "192.0.2.2": w.corp2.Addr(),
		"192.0.2.11": w.auth1.Addr(), "192.0.2.12": w.auth2.Addr(),
	}
	var err error
	w.recursive, err = lab.StartResolver(lab.ResolverConfig{
		Hints: map[string][]string{".": {root.Addr()}}, Map: real, Timeout: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.recursive.Close(); err != nil {
			t.Error(err)
		}
	})
	real["192.0.2.200"] = w.recursive.Addr()

	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 192.0.2.200\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || port != "53" || real[host] == "" {
			return nil, fmt.Errorf("network is unreachable: %s", address)
		}
		return new(net.Dialer).DialContext(ctx, network, real[host])
	}
	w.checker = &Checker{
		Resolver:  &Resolver{ResolvConf: conf, Dial: dial, Timeout: time.Second},
		waitFirst: time.Millisecond, waitLast: 10 * time.Millisecond,
	}
	w.through = &Checker{
		Resolver:  &Resolver{Servers: []string{w.recursive.Addr()}, Timeout: time.Second},
		waitFirst: time.Millisecond, waitLast: 10 * time.Millisecond,
	}
	return w
}

// corp applies a change at both of the company's servers.
func (w *world) corp(t *testing.T, records ...string) {
	t.Helper()
	add(t, w.corp1, records...)
	add(t, w.corp2, records...)
}

func add(t *testing.T, c *lab.Corp, records ...string) {
	t.Helper()
	if err := c.Add(records...); err != nil {
		t.Fatal(err)
	}
}

// soon returns a context that ends long after anything a test waits for, and long before the test run does.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
