package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cnamed/registry"
)

// moment dates what tests make.
var moment = time.Date(2026, 11, 24, 2, 29, 33, 0, time.UTC)

// later opens a database as a version to come does, with one more migration.
func later(t *testing.T, path, step string) (*Store, error) {
	t.Helper()
	return Open(t.Context(), path, Options{
		migrations: append(slices.Clone(migrations), step),
		Now:        func() time.Time { return moment },
	})
}

// newDatabase makes a database with n accounts of one value each, and closes it.
func newDatabase(t *testing.T, n int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "cnamed.db")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	addAccounts(t, s, n)
	settleAll(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func addAccounts(t *testing.T, s *Store, n int) (serial uint64) {
	t.Helper()
	var batch []registry.Mutation
	for range n {
		a := newAccount()
		batch = append(batch, registry.CreateAccount{Account: a},
			registry.PutValue{Username: a.Username, Value: registry.Value{TXT: strings.Repeat("v", 43), At: moment}})
	}
	c, err := s.Commit(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return c.Serial
}

// content returns the numbers of accounts and values of a store.
func content(t *testing.T, s *Store) (accounts, values int, state registry.State) {
	t.Helper()
	state, err := s.Load(t.Context(), func(e *registry.Entry) error {
		accounts++
		values += len(e.Values)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return accounts, values, state
}

// names lists what is beside a database.
func names(t *testing.T, path string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// A table is replaced by another, as the SQLite manual has it: with the foreign
// keys on, its accounts would take their values with them.
const rebuild = `
CREATE TABLE accounts_new (username BLOB NOT NULL PRIMARY KEY, password_hash BLOB NOT NULL, subdomain TEXT NOT NULL,
	allow_from TEXT, created INTEGER NOT NULL, note TEXT NOT NULL DEFAULT '', updated INTEGER NOT NULL DEFAULT 0,
	authenticated INTEGER NOT NULL DEFAULT 0, label TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;
INSERT INTO accounts_new SELECT *, '' FROM accounts;
DROP TABLE accounts;
ALTER TABLE accounts_new RENAME TO accounts;
CREATE UNIQUE INDEX accounts_subdomain ON accounts (subdomain COLLATE NOCASE);`

func TestMigrationKeepsACopy(t *testing.T) {
	t.Parallel()
	path := newDatabase(t, 5)
	s, err := later(t, path, rebuild)
	if err != nil {
		t.Fatal(err)
	}
	accounts, values, _ := content(t, s)
	if err := checkSettings(t.Context(), s.db.conn); err != nil { // foreign keys among them
		t.Errorf("after the migration: %v", err)
	}
	if err := s.Close(); err != nil || accounts != 5 || values != 5 {
		t.Errorf("%d accounts and %d values after the migration, %v", accounts, values, err)
	}

	kept := fmt.Sprintf("cnamed.db.schema-%d-20261124T022933Z", len(migrations))
	if got := names(t, path); !slices.Equal(got, []string{"cnamed.db", "cnamed.db-lock", kept}) {
		t.Fatalf("there are %q", got)
	}
	copied := filepath.Join(filepath.Dir(path), kept)
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v, %v", info.Mode(), err)
	}
	// This version refuses the new one, and goes on from the copy.
	wantHint(t, openFails(t, path), fmt.Sprintf("newer version of cnamed: it has schema %d, this version knows %d", len(migrations)+1, len(migrations)))
	if _, err := Restore(t.Context(), path, copied, moment); err != nil {
		t.Fatal(err)
	}
	if accounts, values, _ := content(t, open(t, path)); accounts != 5 || values != 5 {
		t.Errorf("%d accounts and %d values in the copy", accounts, values)
	}
}

// TestOldSchemaIsMigrated: values were written into txt at once, and accounts into
// accounts.
func TestOldSchemaIsMigrated(t *testing.T) {
	t.Parallel()
	const second = `DROP TABLE newcomers; ALTER TABLE zone DROP COLUMN waiting; PRAGMA user_version = 2; `
	// Of those that wait, one was dropped again, and one is of an account that was deleted.
	const more = `UPDATE zone SET seq = 9004; INSERT INTO recent
		SELECT 9001, min(username), 1, 'x', 7 FROM accounts UNION ALL SELECT 9002, min(username), 2, 'x', 7 FROM accounts
		UNION ALL VALUES (9003, zeroblob(16), 1, 'x', 7), (9004, zeroblob(16), 3, '', 0)`
	for name, back := range map[string]string{
		"1": second + `DROP TABLE recent; PRAGMA user_version = 1`,
		"2": second + `INSERT INTO recent SELECT seq, username, 1, value, set_at FROM txt; DELETE FROM txt; ` + more,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newDatabase(t, 5)
			edit(t, path, back)
			s := open(t, path)
			addAccounts(t, s, 1)
			if accounts, values, _ := content(t, s); accounts != 6 || values != 6 {
				t.Errorf("%d accounts and %d values", accounts, values)
			}
			copied := func(file string) bool { return strings.HasPrefix(file, "cnamed.db.schema-"+name+"-") }
			if got := names(t, path); !slices.ContainsFunc(got, copied) {
				t.Errorf("there is no copy among %q", got)
			}
			must(t, s.Close())
			if accounts, values, _ := content(t, open(t, path)); accounts != 6 || values != 6 {
				t.Errorf("opened again: %d accounts and %d values", accounts, values)
			}
		})
	}
}

func TestFailedMigrationChangesNothing(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]string{
		"a statement":   `ALTER TABLE accounts ADD COLUMN label TEXT; DROP TABLE tokens; SELECT nonsense`,
		"a foreign key": `DELETE FROM accounts`,
	} {
		path := newDatabase(t, 5)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := later(t, path, step)
		if err == nil {
			t.Fatalf("%s: the database was opened, %v", name, s.Close())
		}
		wantHint(t, err, fmt.Sprintf("could not be migrated from schema %d to %d: ", len(migrations), len(migrations)+1))
		after, err := os.ReadFile(path)
		if err != nil || string(after) != string(before) {
			t.Errorf("%s: the file was changed, %v", name, err)
		}
		if got := names(t, path); !slices.Equal(got, []string{"cnamed.db", "cnamed.db-lock"}) {
			t.Errorf("%s: there are %q", name, got)
		}
		if accounts, values, _ := content(t, open(t, path)); accounts != 5 || values != 5 {
			t.Errorf("%s: %d accounts and %d values are left", name, accounts, values)
		}
	}
}

func TestNoMigrationWithoutACopy(t *testing.T) {
	t.Parallel()
	path := newDatabase(t, 5)
	// What is in the way of the copy cannot be removed.
	if err := os.MkdirAll(filepath.Join(path+keepSuffix, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := later(t, path, rebuild)
	if err == nil {
		t.Fatal(s.Close())
	}
	wantHint(t, err, fmt.Sprintf("copying the database before its migration from schema %d to %d: ", len(migrations), len(migrations)+1))
	if accounts, _, _ := content(t, open(t, path)); accounts != 5 {
		t.Errorf("%d accounts are left", accounts)
	}
}

func TestExistingChangesNoSchema(t *testing.T) {
	t.Parallel()
	absent := filepath.Join(t.TempDir(), "folder", "cnamed.db")
	if _, err := Open(t.Context(), absent, Options{Existing: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("where there is no database: %v", err)
	}
	path := newDatabase(t, 1)
	_, err := Open(t.Context(), path, Options{Existing: true, migrations: append(slices.Clone(migrations), rebuild)})
	wantHint(t, err, fmt.Sprintf("older version of cnamed: it has schema %d, this version needs %d", len(migrations), len(migrations)+1))
	open(t, path)
}
