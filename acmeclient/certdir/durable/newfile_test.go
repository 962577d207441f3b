package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestNewFileAppearsWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new")
	f, err := Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if _, err := f.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is in its place before it is whole: %v", err)
	}
	if err := f.Place(false); err != nil {
		t.Fatal(err)
	}
	f.Discard()
	wantOnly(t, path, "text")
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestNewFileReplacesOnlyIfItMay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new")
	late, err := Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating over a file: %v", err)
	}
	if err := late.Place(false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("placing over a file that came meanwhile: %v", err)
	}
	late.Discard()
	wantOnly(t, path, "old")
	f, err := Create(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("new"); err != nil {
		t.Fatal(err)
	}
	if err := f.Place(true); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, path, "new")
	if _, err := Create(t.TempDir(), true); err == nil {
		t.Error("a folder may be replaced")
	}
}

// wantOnly checks the text of a file, and that nothing is beside it.
func wantOnly(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s has %q, %v", path, got, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside it are %v, %v", entries, err)
	}
}
