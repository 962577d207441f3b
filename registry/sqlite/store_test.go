package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
	"cnamed/registry/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() (registry.Store, error) {
		path := filepath.Join(t.TempDir(), "cnamed.db")
		return func() (registry.Store, error) { return Open(t.Context(), path, Options{}) }
	})
}

// TestStoreThatSettles: changes are on their way into txt all the time.
func TestStoreThatSettles(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() (registry.Store, error) {
		path := filepath.Join(t.TempDir(), "cnamed.db")
		return func() (registry.Store, error) { return Open(t.Context(), path, Options{mostRecent: 1}) }
	})
}

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

// openFails opens path, which must not work, and returns the error.
func openFails(t *testing.T, path string) error {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err == nil {
		t.Error(errors.Join(errors.New("the database was opened"), s.Close()))
		return errors.New("none")
	}
	return err
}

func wantHint(t *testing.T, err error, text string) {
	t.Helper()
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || hinted.Hint() == "" || !strings.Contains(err.Error(), text) {
		t.Errorf("the error %q has no hint, or lacks %q", err, text)
	}
}

func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("modes are a matter of Unix")
	}
	path := filepath.Join(t.TempDir(), "new", "folder", "cnamed.db")
	open(t, path)
	for suffix, want := range map[string]os.FileMode{"": 0o600, walSuffix: 0o600, shmSuffix: 0o600, lockSuffix: 0o600} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", info.Name(), info.Mode())
		}
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
}

func TestCloseLeavesOneFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.Probe{}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{walSuffix, shmSuffix} {
		if _, err := os.Stat(path + suffix); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s%s is left: the handle was not closed", path, suffix)
		}
	}
}

func TestOddPathsAreOpened(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "50%25.db", "what?.db", "a#b.db", "ü.db", "x&_synchronous=OFF.db"} {
		path := filepath.Join(t.TempDir(), name)
		s := open(t, path)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		var synchronous int
		if err := s.db.conn.QueryRowContext(t.Context(), `PRAGMA synchronous`).Scan(&synchronous); err != nil || synchronous != 2 {
			t.Errorf("%s: synchronous is %d, %v", name, synchronous, err)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	wantHint(t, openFails(t, path), "another process")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	edit(t, path, fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = 99; CREATE TABLE t (x)`, applicationID))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantHint(t, openFails(t, path), "newer version")
	after, err := os.ReadFile(path)
	// The version in the header of WAL mode may be the only difference.
	if err != nil || len(after) != len(before) {
		t.Errorf("the refused file was changed: %v", err)
	}
}

func TestForeignFilesAreRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "other.db")
	edit(t, path, `CREATE TABLE records (Username TEXT)`)
	wantHint(t, openFails(t, path), "not a cnamed database")

	path = filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database at all\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	wantHint(t, openFails(t, path), "not a cnamed database")

	wantHint(t, openFails(t, t.TempDir()), "not a cnamed database") // a folder
}

func TestReadOnlyFileIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	wantHint(t, openFails(t, path), "read-only")
}

// edit runs SQL on the file at path, from outside.
func edit(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(context.Background(), text)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func newAccount() registry.Account {
	return registry.Account{Username: uuid.New(), PasswordHash: make([]byte, 32), Subdomain: uuid.NewString()}
}

// SQLite writes no page that stays as it is, and flushes nothing then. So a probe
// has to change something whenever it comes: that of Open flushes what a killed
// process had written to the log and not flushed, before anybody is told of it.
func TestEveryProbeIsWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	written := func() (frames int) {
		if _, err := s.Commit(t.Context(), []registry.Mutation{registry.Probe{At: time.Unix(1700000000, 0)}}); err != nil {
			t.Fatal(err)
		}
		frames, _ = s.db.checkpoints.index.size()
		return frames
	}
	if first, second := written(), written(); second <= first {
		t.Errorf("the second probe of a second leaves the log at %d pages, as the first (%d)", second, first)
	}
}
