package certdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// asNobody runs f without root's right to ignore modes. The identity is that of one thread, which ends with f.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				t.Errorf("setfsuid: %v", err)
				return
			}
		}
		f()
	}()
	<-done
}

func TestReadOnlyFolderLeavesTheOldSet(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("", "certdir-") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, sub := range []string{"live", "archive", "archive/example.com"} {
			_ = os.Chmod(filepath.Join(root, sub), 0o755)
		}
		_ = os.RemoveAll(root)
	})
	d, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	save(t, d, "example.com", 1)
	for path, mode := range map[string]fs.FileMode{
		"": 0o555, "live": 0o555, "archive": 0o777, "archive/.lock": 0o666, "archive/example.com": 0o555,
	} {
		if err := os.Chmod(filepath.Join(root, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	asNobody(t, func() {
		_, err := d.Save("example.com", set(2))
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(e.Hint(), "may write") {
			t.Errorf("read-only archive: %v", err)
		}
	})
	if err := os.Chmod(filepath.Join(root, "archive/example.com"), 0o777); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if _, err := d.Save("example.com", set(2)); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("read-only live: %v", err)
		}
	})
	if n := number(t, d, "example.com"); n != 1 {
		t.Errorf("set %d", n)
	}
	if versions, err := d.versions("example.com"); err != nil || len(versions) != 1 {
		t.Errorf("versions %v, %v", versions, err)
	}
}

func TestFullDiskHint(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.before = func(step string) error {
		if step == "write chain.pem" {
			return &fs.PathError{Op: "write", Path: "chain.pem", Err: syscall.ENOSPC}
		}
		return nil
	}
	_, err := d.Save("example.com", set(1))
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "disk is full") {
		t.Errorf("error %v", err)
	}
}
