// Package differential compares cnamed with other authoritative servers: NSD and Knot have the same zones, all get the same
// queries, and whatever differs in the replies is in a closed list of differences, each with its reason.
package differential

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const (
	zoneCount = 8
	// maxFailures bounds what a fault that concerns everything prints.
	maxFailures = 20
)

func TestSameAnswers(t *testing.T) {
	t.Parallel()
	var all []*queries
	var zones []*zone
	for i := range zoneCount {
		z := newGenerator(i).zone(t, 10+8*i)
		qs := &queries{Rand: newGenerator(i).Rand, zone: z}
		qs.contents(newGenerator(i))
		qs.outside(newGenerator(i))
		all, zones = append(all, qs), append(zones, z)
	}
	last := &queries{Rand: newGenerator(0).Rand, zone: newProtocolZone(t)}
	last.protocol()
	all, zones = append(all, last), append(zones, last.zone)

	nsd, knot := startNSD(t, zones), startKnot(t, zones)
	compare := &comparison{used: make([]int, len(differences))}
	for _, qs := range all {
		servers := []*server{
			newServer(t, "ours", startOurs(t, qs.zone)), newServer(t, "nsd", nsd), newServer(t, "knot", knot),
		}
		for _, q := range qs.list {
			compare.query(t, q, servers)
		}
	}
	compare.finish(t)
}

// newGenerator returns the generator of the zone with this number.
func newGenerator(i int) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(1, uint64(i))), origin: fmt.Sprintf("z%d.differential.test", i)}
}

// comparison collects what differs.
type comparison struct {
	used     []int // how often, by the index in differences
	queries  int
	failures int
}

// query asks all servers the same. The first is ours.
func (c *comparison) query(t *testing.T, q *query, servers []*server) {
	t.Helper()
	c.queries++
	replies := make([]*reply, len(servers))
	for i, s := range servers {
		replies[i] = newReply(s.ask(t, q))
	}
	for i, s := range servers[1:] {
		open := c.explain(q, s.name, replies[0], replies[i+1])
		if len(open) == 0 {
			continue
		}
		if c.failures++; c.failures > maxFailures {
			t.Fatal("and more")
		}
		t.Errorf("%s\nwith %s differs %s\nours:\n%s\nnsd:\n%s\nknot:\n%s", q, s.name, strings.Join(open, ", "),
			indent(replies[0].String()), indent(replies[1].String()), indent(replies[2].String()))
	}
}

// explain returns the parts that differ and that no known difference explains.
func (c *comparison) explain(q *query, peer string, ours, theirs *reply) []string {
	open := ours.differing(theirs)
	for i, d := range differences {
		covered := func(part string) bool { return slices.Contains(d.parts, part) }
		if !slices.ContainsFunc(open, covered) || !slices.Contains(strings.Fields(d.peers), peer) || !d.explains(q, ours, theirs) {
			continue
		}
		c.used[i]++
		open = slices.DeleteFunc(open, covered)
	}
	return open
}

// finish fails when a difference did not occur: it is gone, and its explanation is stale.
func (c *comparison) finish(t *testing.T) {
	t.Logf("%d queries", c.queries)
	for i, d := range differences {
		if c.used[i] == 0 && d.why != errorLimit {
			t.Errorf("this difference did not occur: %s %s: %s", d.peers, d.parts, d.why)
		}
		t.Logf("%6d times with %s: %s", c.used[i], d.peers, d.why)
	}
}
