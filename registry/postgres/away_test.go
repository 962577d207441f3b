//go:build unix

package postgres

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"

	"cnamed/registry"
)

// TestCutOffNodeSaysSo: it answers while its lease lasts, then it does not know;
// the others go on without it; and when the way is open again it has what they
// did meanwhile.
func TestCutOffNodeSaysSo(t *testing.T) {
	t.Parallel()
	connection, schema := place(t)
	line := lineTo(t)
	well, cut := startNode(t, connection, schema), startNode(t, line.URL(), schema)
	ctx := t.Context()
	c, err := cut.Register(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := update(ctx, cut, c, txt('a')); err != nil {
		t.Fatal(err)
	}

	line.Cut()
	if got := cut.values(t, c.Subdomain); !slices.Equal(got, []string{txt('a')}) {
		t.Errorf("in the first moment it serves %q", got)
	}
	if err := update(ctx, cut, c, txt('b')); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("update without a database: %v", err)
	}
	if err := cut.Check(ctx); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("health without a database: %v", err)
	}
	if err := update(ctx, well, c, txt('c')); err != nil { // waits until the other is out
		t.Errorf("update on the other node: %v", err)
	}
	if _, _, err := cut.AppendTXT(nil, []byte(c.Subdomain)); !errors.Is(err, registry.ErrStale) {
		t.Errorf("the other has acknowledged an update, and this one answers: %v", err)
	}
	err = cut.Snapshot(ctx, func(uint32) error { t.Error("a transfer of what may be old begins"); return nil }, nil)
	if !errors.Is(err, registry.ErrStale) {
		t.Errorf("a transfer of what may be old: %v", err)
	}
	if _, known, err := cut.Changes(cut.Serial(), nil); known || !errors.Is(err, registry.ErrStale) {
		t.Errorf("that nothing has changed is known: %v, %v", known, err)
	}
	if _, err := cut.Login(registry.Login{Username: uuid.NewString()}); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("it refuses whom it may only not know yet: %v", err)
	}

	line.Mend()
	await(t, "the node does not come back", cut.store.Fresh)
	if got := cut.values(t, c.Subdomain); !slices.Contains(got, txt('c')) {
		t.Errorf("back again it serves %q", got)
	}
	await(t, "the node is not healthy", func() bool { return cut.Check(ctx) == nil })
}

// TestNodesLoadWhatWasImported: an import leaves no changes to follow.
func TestNodesLoadWhatWasImported(t *testing.T) {
	t.Parallel()
	connection, schema := place(t)
	nodes := []*testNode{startNode(t, connection, schema), startNode(t, connection, schema)}
	store, err := Open(t.Context(), connection, Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	entry := registry.Entry{Account: registry.Account{Username: uuid.New(), PasswordHash: registry.HashPassword("p"), Subdomain: "imported"}}
	_, err = store.Import(t.Context(), registry.Import{Entries: func(yield func(*registry.Entry, error) bool) { yield(&entry, nil) }})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		await(t, "a node has not loaded it", func() bool {
			_, exists, _ := n.AppendTXT(nil, []byte("imported"))
			return exists
		})
		if err := n.SetChallenges(t.Context(), []string{txt(rune('a' + i))}); err != nil {
			t.Error(err)
		}
	}
}
