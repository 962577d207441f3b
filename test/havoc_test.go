//go:build linux

package test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

var havoc = flag.Duration("havoc", 8*time.Second, "how long, at least, nodes and their database are killed and stopped; in CI most ways of it are planned")

// fault does a bad thing to a cluster, and returns when it is over. What takes its
// time ends with ctx.
type fault struct {
	name string
	do   func(c *cluster, ctx context.Context, random *rand.Rand)
}

var (
	everywhere = []fault{{"node killed", killNode}, {"node stopped", stopNode}, {"database stopped", stopDatabase}}
	inCI       = []fault{{"node stopped beyond its lease", outstopLease}, {"database stopped beyond all leases", outstopLeases},
		{"database killed", killDatabase}}
	byChance = []fault{{"two nodes stopped", stopTwo}, {"node cut off", cutOff}}
)

// havoc does what is planned, in a random order; after each there are updates that
// are acknowledged. Then it goes on, now without a pause for that, until the time
// is over.
func (c *cluster) havoc(random *rand.Rand) (planned []fault) {
	planned, rest := slices.Clone(everywhere), slices.Concat(inCI, byChance)
	if os.Getenv("CI") == "true" {
		planned, rest = slices.Concat(everywhere, inCI), byChance
	}
	ctx, stop := context.WithTimeout(c.t.Context(), *havoc)
	defer stop()
	for _, i := range random.Perm(len(planned)) {
		c.faults[planned[i].name]++
		planned[i].do(c, c.t.Context(), random)
		before := c.updated.Load()
		eventually(c.t, func() error {
			if n := c.updated.Load() - before; n < 30 {
				return fmt.Errorf("%d updates are acknowledged after %q", n, planned[i].name)
			}
			return nil
		})
	}
	all := append(rest, planned...)
	for ctx.Err() == nil {
		f := all[random.IntN(len(all))]
		c.faults[f.name]++
		f.do(c, ctx, random)
		idle(ctx, upTo(random, 1500*time.Millisecond))
	}
	return planned
}

func killNode(c *cluster, _ context.Context, random *rand.Rand) {
	node := random.IntN(len(c.nodes))
	c.nodes[node].Kill()
	eventually(c.t, func() error { return c.start(testContext(c.t), node) })
}

func stopNode(c *cluster, ctx context.Context, random *rand.Rand) {
	c.stopFor(ctx, shortly(random), random.IntN(len(c.nodes)))
}

func stopTwo(c *cluster, ctx context.Context, random *rand.Rand) {
	node := random.IntN(len(c.nodes))
	c.stopFor(ctx, shortly(random), node, (node+1)%len(c.nodes))
}

// outstopLease stops a node until the others have gone on without it. It goes on
// where it was, with no way to the database: until it has one, it has nothing to say.
func outstopLease(c *cluster, _ context.Context, random *rand.Rand) {
	node := random.IntN(len(c.nodes))
	c.signal(syscall.SIGSTOP, node)
	other := c.api[(node+1)%len(c.api)]
	eventually(c.t, func() error { return c.updateOnce(testContext(c.t), c.own(), other) })
	c.lines[node].Cut()
	c.signal(syscall.SIGCONT, node)
	c.awaitServfail(node, true)
	c.lines[node].Mend()
}

// cutOff has a node go on to answer, without knowing.
func cutOff(c *cluster, ctx context.Context, random *rand.Rand) {
	node := random.IntN(len(c.nodes))
	c.lines[node].Cut()
	idle(ctx, upTo(random, 12*time.Second))
	c.lines[node].Mend()
}

func stopDatabase(c *cluster, ctx context.Context, random *rand.Rand) {
	c.database.Pause()
	idle(ctx, shortly(random))
	c.database.Resume()
}

// outstopLeases stops the database until no node answers.
func outstopLeases(c *cluster, _ context.Context, _ *rand.Rand) {
	c.database.Pause()
	for node := range c.nodes {
		c.awaitServfail(node, false)
	}
	c.database.Resume()
}

func killDatabase(c *cluster, ctx context.Context, random *rand.Rand) {
	c.database.Kill()
	idle(ctx, shortly(random)/2)
	if err := c.database.Restart(testContext(c.t)); err != nil {
		c.t.Fatal(err)
	}
}

// awaitServfail returns when a node says that it cannot know. If its lease is over,
// that is its first answer.
func (c *cluster) awaitServfail(node int, isOver bool) {
	c.t.Helper()
	ctx := testContext(c.t)
	eventually(c.t, func() error {
		rcode, err := c.query(ctx, node, c.own())
		switch {
		case rcode == dns.RcodeServerFailure:
			return nil
		case rcode >= 0 && (err != nil || isOver):
			c.t.Fatalf("node %d answers %s without a lease: %v", node, dns.RcodeToString[rcode], err)
		}
		return fmt.Errorf("node %d: %s, %w", node, dns.RcodeToString[rcode], err)
	})
}

func (c *cluster) stopFor(ctx context.Context, length time.Duration, nodes ...int) {
	c.signal(syscall.SIGSTOP, nodes...)
	idle(ctx, length)
	c.signal(syscall.SIGCONT, nodes...)
}

func (c *cluster) signal(sig syscall.Signal, nodes ...int) {
	for _, i := range nodes {
		if err := syscall.Kill(c.nodes[i].Pid(), sig); err != nil {
			c.t.Error(err)
		}
	}
}

// shortly is a time in which no lease ends.
func shortly(random *rand.Rand) time.Duration {
	return 500*time.Millisecond + upTo(random, 2500*time.Millisecond)
}

func upTo(random *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(d)))
}

// idle lets time pass.
func idle(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
