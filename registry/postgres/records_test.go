//go:build unix

package postgres

import (
	"errors"
	"testing"

	"cnamed/registry"
)

// TestNodeWithOldRecordsTransfersNothing: while servers are restarted one after the
// other with other records, the serial is that of the new ones, and so no secondary may
// have the old ones with it.
func TestNodeWithOldRecordsTransfersNothing(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2)
	ctx := t.Context()
	note := func(n *testNode, records string) {
		t.Helper()
		if _, err := n.SetRecords(ctx, map[string]string{"auth.example.org.": records}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(n *testNode, want error) {
		t.Helper()
		begin, each := func(uint32) error { return nil }, func(_, _ []byte) error { return nil }
		if err := n.Snapshot(ctx, begin, each); !errors.Is(err, want) {
			t.Errorf("a transfer: %v, want %v", err, want)
		}
		if _, _, err := n.Changes(n.Serial(), nil); !errors.Is(err, want) {
			t.Errorf("a transfer of changes: %v, want %v", err, want)
		}
		if _, _, err := n.AppendTXT(nil, []byte("x")); err != nil {
			t.Errorf("a question: %v", err)
		}
	}
	for _, n := range nodes {
		note(n, "old")
		want(n, nil)
	}
	before := nodes[1].Serial()
	note(nodes[0], "new")
	want(nodes[0], nil)
	if nodes[1].Serial() == before {
		t.Fatal("the serial has not moved")
	}
	want(nodes[1], registry.ErrRecords)
	// One that comes back with the old ones is followed by nobody, until it has the new.
	note(nodes[1], "old")
	want(nodes[1], nil)
	want(nodes[0], registry.ErrRecords)
	note(nodes[1], "new")
	want(nodes[1], nil)
	want(nodes[0], nil) // which has them since another serial
}
