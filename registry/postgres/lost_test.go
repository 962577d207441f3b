//go:build unix

package postgres

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
	testserver "cnamed/test/postgres"
)

// lineTo returns a way to the server of all tests that can be cut or muted.
func lineTo(t *testing.T) *testserver.Line {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "cnamed-line-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	line, err := server.Line(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	return line
}

// membership is as which the node is a member.
func (n *testNode) membership() uuid.UUID {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	return n.store.node.id
}

// TestNotificationsAreNotNeeded: they only make it fast. A node to which none
// comes any more applies and confirms what there is, and finds the confirmations of
// others, soon enough to stay a member; and a change without a notification is
// found by all.
func TestNotificationsAreNotNeeded(t *testing.T) {
	t.Parallel()
	connection, schema := place(t)
	line := lineTo(t)
	well, deaf := startNode(t, connection, schema), startNode(t, line.URL(), schema)
	ctx := t.Context()
	c, err := deaf.Register(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	as := []uuid.UUID{well.membership(), deaf.membership()}
	line.Mute()
	// Each takes some look, and none the time after which a node gives up or is removed.
	quick := func(what string, began time.Time) {
		t.Helper()
		if took := time.Since(began); took > followTime {
			t.Errorf("%s took %v", what, took)
		} else {
			t.Logf("%s took %v", what, took)
		}
	}
	for i, r := range "abcd" {
		began := time.Now()
		if err := update(ctx, []*testNode{well, deaf}[i%2], c, txt(r)); err != nil {
			t.Error(err)
		}
		quick(fmt.Sprintf("an update by node %d", i%2), began)
		for j, n := range []*testNode{well, deaf} {
			if got := n.values(t, c.Subdomain); len(got) != i+1 || got[0] != txt(r) {
				t.Errorf("after update %d node %d serves %q", i, j, got)
			}
		}
	}
	if line.Lost() < 4 {
		t.Errorf("%d notifications were lost: the test shows nothing", line.Lost())
	}
	began := time.Now()
	commitRaw(t, connection, schema, `[{"do":"challenges","list":["`+txt('z')+`"]}]`)
	for _, n := range []*testNode{well, deaf} {
		await(t, "a change that nobody told is not served", func() bool {
			return slices.Equal(n.values(t, registry.OwnLabel), []string{txt('z')})
		})
	}
	quick("a change that nobody told", began)
	if now := []uuid.UUID{well.membership(), deaf.membership()}; !slices.Equal(now, as) {
		t.Error("a node had to join again")
	}
}
