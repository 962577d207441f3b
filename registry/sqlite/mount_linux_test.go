package sqlite

import (
	"testing"

	"golang.org/x/sys/unix"
)

// mountSmall mounts a file system of one megabyte.
func mountSmall(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		// Lazily: the store closes its files in a clean-up that runs earlier,
		// but somebody may look at the folder.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}
