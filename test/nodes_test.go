//go:build linux

package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/postgres"
	"cnamed/test/program"
	"cnamed/test/world"
)

// TestNoQuerySeesThePast runs three servers on one PostgreSQL, kills and stops
// them and the database under load, in a random order, and asks each server all the
// time: what was answered 200 before a query was sent is in its answer, or it has
// none.
func TestNoQuerySeesThePast(t *testing.T) {
	required(t, postgres.Binaries() != "", "there is no PostgreSQL")
	c := startCluster(t, 3)
	c.register(25)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	for i := range c.accounts[:c.own()] {
		group.Go(func() { c.update(ctx, i) })
	}
	for range 16 {
		group.Go(func() { c.ask(ctx) })
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("faults are chosen by seed %d", seed)
	planned := c.havoc(rand.New(rand.NewPCG(seed, 0)))
	stop()
	group.Wait()
	t.Logf("%d updates answered 200 and %d otherwise; %d queries answered, %d SERVFAIL, %d without an answer; %v",
		c.updated.Load(), c.failed.Load(), c.answered.Load(), c.servfail.Load(), c.silent.Load(), c.faults)
	if t.Failed() {
		return
	}
	for _, f := range planned {
		if c.faults[f.name] == 0 {
			t.Errorf("there was no fault of the kind %q", f.name)
		}
	}
	if c.updated.Load() < 50 || c.answered.Load() < 1000 {
		t.Error("so few: the test shows nothing")
	}

	// All is well again, by itself, and all say the same.
	for i := range c.accounts {
		eventually(t, func() error { return c.updateOnce(testContext(t), i, c.api[i%len(c.api)]) })
	}
	serials := map[uint32]bool{}
	for node := range c.dns {
		for i := range c.accounts {
			if _, err := c.query(testContext(t), node, i); err != nil {
				t.Errorf("node %d at the end: %v", node, err)
			}
		}
		serials[c.serial(node)] = true
	}
	if len(serials) != 1 {
		t.Errorf("the nodes have the serials %v", serials)
	}
}

// cluster is some servers that share a database.
type cluster struct {
	t        *testing.T
	database *postgres.Server
	lines    []*postgres.Line // to the database, one of each node
	folder   string
	nodes    []*program.Server
	dns, api []string
	client   *http.Client
	accounts []clusterAccount
	faults   map[string]int

	updated, failed, answered, servfail, silent atomic.Int64
}

type clusterAccount struct {
	account
	last atomic.Int64 // the newest value that was answered 200
	next int
}

// own is the account that only the test itself updates.
func (c *cluster) own() int { return len(c.accounts) - 1 }

func startCluster(t *testing.T, size int) *cluster {
	t.Helper()
	database, err := postgres.Start(testContext(t), "max_connections=60")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
	c := &cluster{t: t, database: database, folder: t.TempDir(), faults: map[string]int{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: 20 * time.Second}}
	for i := range size {
		c.nodes, c.dns, c.api = append(c.nodes, nil), append(c.dns, "127.0.0.1:0"), append(c.api, "http://127.0.0.1:0")
		folder, err := os.MkdirTemp("/tmp", "cnamed-line-") // short enough for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(folder) })
		line, err := database.Line(folder)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = line.Close() })
		c.lines = append(c.lines, line)
		if err := c.start(testContext(t), i); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(t, c.nodes[i]) })
	}
	return c
}

// start starts a node at the addresses that it had.
func (c *cluster) start(ctx context.Context, i int) error {
	s, err := program.Start(ctx, binary, program.Options{Env: []string{"CNAMED_DATABASE=" + c.lines[i].URL()}},
		"--domain", world.Zone, "--ip", "127.0.0.1", "--data", filepath.Join(c.folder, strconv.Itoa(i)),
		"--dns-listen", c.dns[i], "--api-listen", strings.TrimPrefix(c.api[i], "http://"), "--api-tls", "none")
	if err != nil {
		return err
	}
	if c.nodes[i] == nil {
		c.dns[i], c.api[i] = s.DNS[0], s.API[0] // for good: the clients read them
	}
	c.nodes[i] = s
	return nil
}

func (c *cluster) register(n int) {
	c.t.Helper()
	c.accounts = make([]clusterAccount, n)
	for i := range c.accounts {
		var err error
		if c.accounts[i].account, err = registerAccount(testContext(c.t), c.client, c.api[i%len(c.api)]); err != nil {
			c.t.Fatal(err)
		}
	}
}

// update updates one account again and again, anywhere.
func (c *cluster) update(ctx context.Context, i int) {
	for ctx.Err() == nil {
		if err := c.updateOnce(ctx, i, c.api[rand.IntN(len(c.api))]); err == nil {
			c.updated.Add(1)
		} else {
			c.failed.Add(1)
			idle(ctx, 20*time.Millisecond)
		}
	}
}

func (c *cluster) updateOnce(ctx context.Context, i int, api string) error {
	a := &c.accounts[i]
	a.next++
	n := a.next
	r, err := update(ctx, c.client, api, a.account, value(n))
	if err == nil {
		err = r.error(http.StatusOK)
	}
	if err == nil {
		a.last.Store(int64(n))
	}
	return err
}

// ask asks any node for any account.
func (c *cluster) ask(ctx context.Context) {
	for ctx.Err() == nil {
		node, i := rand.IntN(len(c.dns)), rand.IntN(len(c.accounts))
		rcode, err := c.query(ctx, node, i)
		switch {
		case err != nil && rcode >= 0:
			c.t.Errorf("node %d, account %d: %v", node, i, err)
			return
		case err != nil:
			c.silent.Add(1)
			idle(ctx, 5*time.Millisecond)
		case rcode == dns.RcodeServerFailure:
			c.servfail.Add(1)
			idle(ctx, time.Millisecond)
		default:
			c.answered.Add(1)
		}
	}
}

// query fails without an answer (-1), or with one that was not the newest when
// the query was sent.
func (c *cluster) query(ctx context.Context, node, i int) (rcode int, err error) {
	a := &c.accounts[i]
	acknowledged := a.last.Load()
	m := new(dns.Msg).SetQuestion(a.Subdomain+"."+world.Zone+".", dns.TypeTXT).SetEdns0(1232, false)
	client := &dns.Client{Timeout: 3 * time.Second}
	r, err := exchange(ctx, client, m, c.dns[node])
	if err == nil && r.Truncated {
		client.Net = "tcp"
		r, err = exchange(ctx, client, m, c.dns[node])
	}
	if err != nil {
		return -1, err
	}
	if r.Rcode == dns.RcodeServerFailure {
		return r.Rcode, nil
	}
	newest := int64(0)
	for _, rr := range r.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			n, _ := strconv.ParseInt(strings.TrimPrefix(strings.Join(txt.Txt, ""), "value-"), 10, 64)
			newest = max(newest, n)
		}
	}
	if newest < acknowledged {
		return r.Rcode, fmt.Errorf("%d was answered 200 before the query was sent, and %d came back (%s, then %d)",
			acknowledged, newest, dns.RcodeToString[r.Rcode], a.last.Load())
	}
	return r.Rcode, nil
}

func (c *cluster) serial(node int) uint32 {
	r, err := exchange(testContext(c.t), new(dns.Client), new(dns.Msg).SetQuestion(world.Zone+".", dns.TypeSOA), c.dns[node])
	if err != nil || len(r.Answer) != 1 {
		c.t.Fatalf("SOA of node %d: %v, %v", node, r, err)
	}
	return r.Answer[0].(*dns.SOA).Serial
}
