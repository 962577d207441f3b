//go:build unix

package sqlite

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCloseEndsTheLock: also while a child that is just being started has the
// descriptor of it.
func TestCloseEndsTheLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	child, err := unix.Dup(int(s.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
