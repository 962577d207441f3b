//go:build unix

package postgres

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cnamed/registry"
)

// testNode is a registry that is one of several on a schema.
type testNode struct {
	*registry.Registry
	store  *Store
	log    *record
	errors chan string // what was logged as an error
	stop   func()
}

func (n *testNode) values(t *testing.T, name string) (values []string) {
	t.Helper()
	packed, _, err := n.AppendTXT(nil, []byte(name))
	if err != nil {
		t.Fatal(err)
	}
	for len(packed) > 0 {
		length := int(packed[0])<<8 | int(packed[1])
		values, packed = append(values, string(packed[2:2+length])), packed[2+length:]
	}
	return values
}

// startNode opens a registry, and returns when it may answer.
func startNode(t *testing.T, connection, schema string) *testNode {
	t.Helper()
	ctx := t.Context()
	log := &record{Handler: slog.NewTextHandler(t.Output(), nil), errors: make(chan string, 16)}
	store, err := Open(ctx, connection, Options{Schema: schema, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(ctx, store, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	serving, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = reg.Serve(serving) })
	n := &testNode{reg, store, log, log.errors, sync.OnceFunc(func() { cancel(); group.Wait(); _ = reg.Close() })}
	t.Cleanup(n.stop)
	await(t, "the node is no member", store.Fresh)
	return n
}

func startNodes(t *testing.T, count int) (nodes []*testNode) {
	connection, schema := place(t)
	for range count {
		nodes = append(nodes, startNode(t, connection, schema))
	}
	return nodes
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticks := time.NewTicker(2 * time.Millisecond)
	defer ticks.Stop()
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for !ok() {
		select {
		case <-ticks.C:
		case <-timeout.C:
			t.Fatal(what)
		}
	}
}

func update(ctx context.Context, n *testNode, c registry.Credentials, txt string) error {
	return n.Update(ctx, registry.Update{Username: c.Username.String(), Password: c.Password.Reveal(),
		Source: netip.MustParseAddr("192.0.2.1"), Subdomain: c.Subdomain, TXT: txt})
}

func txt(r rune) string { return strings.Repeat(string(r), 43) }

// TestEveryNodeServesWhatOneAcknowledged has each node change what another has
// made, and looks at all of them at once.
func TestEveryNodeServesWhatOneAcknowledged(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3)
	ctx := t.Context()
	c, err := nodes[0].RegisterAs(ctx, registry.Registration{Subdomain: "shared", Note: "n"})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range "abcdefghi" {
		if err := update(ctx, nodes[i%3], c, txt(r)); err != nil {
			t.Fatal(err)
		}
		for j, n := range nodes {
			if got := n.values(t, "shared"); len(got) != i+1 || got[0] != txt(r) {
				t.Errorf("node %d serves %q after update %d", j, got, i)
			}
			if n.Serial() != nodes[0].Serial() {
				t.Errorf("node %d has the serial %d, not %d", j, n.Serial(), nodes[0].Serial())
			}
		}
	}
	// A password that was replaced on one node is void on all, at once.
	a, err := nodes[1].Login(registry.Login{Username: c.Username.String(), Password: c.Password.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	replaced, err := a.Rotate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := update(ctx, nodes[2], c, txt('x')); !errors.Is(err, registry.ErrForbidden) {
		t.Errorf("update with the old password: %v", err)
	}
	if err := update(ctx, nodes[2], replaced, txt('y')); err != nil {
		t.Error(err)
	}
	if err := nodes[0].SetChallenges(ctx, []string{txt('z')}); err != nil {
		t.Fatal(err)
	}
	if got := nodes[2].values(t, registry.OwnLabel); !slices.Equal(got, []string{txt('z')}) {
		t.Errorf("the own challenge is %q", got)
	}
	access, err := nodes[2].AccessTo("shared")
	if err != nil {
		t.Fatal(err)
	}
	if err := access.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	for j, n := range nodes {
		if _, exists, _ := n.AppendTXT(nil, []byte("shared")); exists {
			t.Errorf("node %d has the deleted account", j)
		}
	}
	_, err = nodes[0].RegisterAs(ctx, registry.Registration{Subdomain: "shared"})
	if !errors.Is(err, registry.ErrExists) {
		t.Errorf("a retired name was given again: %v", err)
	}
}

// TestOnePasswordIsRotatedOnce: what holds for the writes of one registry holds
// for those of all.
func TestOnePasswordIsRotatedOnce(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3)
	ctx := t.Context()
	token, secret, err := nodes[0].CreateToken(ctx, registry.TokenRequest{MaxUses: 5})
	if err != nil {
		t.Fatal(err)
	}
	c, err := nodes[0].Register(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	rotated, registered := 0, 0
	var group sync.WaitGroup
	for i := range 24 {
		n := nodes[i%3]
		a, err := n.Login(registry.Login{Username: c.Username.String(), Password: c.Password.Reveal()})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			_, err := a.Rotate(ctx)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				rotated++
			case !errors.Is(err, registry.ErrForbidden):
				t.Error(err)
			}
		})
		group.Go(func() {
			id, err := n.CheckToken(secret.Reveal())
			if err == nil {
				_, err = n.RegisterAs(ctx, registry.Registration{Token: id})
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				registered++
			case !errors.Is(err, registry.ErrToken):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if rotated != 1 || registered != token.MaxUses {
		t.Errorf("rotated %d times, registered %d times with a token for %d", rotated, registered, token.MaxUses)
	}
}
