//go:build unix

package postgres

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"cnamed/registry"
)

// later are the migrations of a version to come.
func later(step string) []string { return append(slices.Clone(migrations), step) }

func wantHint(t *testing.T, err error, text string) {
	t.Helper()
	var hinted interface{ Hint() string }
	if err == nil || !errors.As(err, &hinted) || hinted.Hint() == "" || !strings.Contains(err.Error(), text) {
		t.Errorf("the error %v has no hint, or lacks %q", err, text)
	}
}

// newDatabase makes the tables of this version, with one account.
func newDatabase(t *testing.T) (connection, schema string) {
	t.Helper()
	connection, schema = place(t)
	store, err := Open(t.Context(), connection, Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	account := registry.Account{Username: uuid.New(), PasswordHash: make([]byte, 32), Subdomain: "kept"}
	_, err = store.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: account}})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	return connection, schema
}

// ask returns one value of the database, as text.
func ask(t *testing.T, connection, query string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), connection)
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	if err := conn.QueryRow(t.Context(), query).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// Several nodes of the new version start at once; one of them migrates.
func TestMigrationIsDoneOnce(t *testing.T) {
	t.Parallel()
	connection, schema := newDatabase(t)
	opts := Options{Schema: schema, migrations: later(`ALTER TABLE accounts ADD COLUMN label text NOT NULL DEFAULT 'new'`)}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			store, err := Open(t.Context(), connection, opts)
			if err != nil {
				t.Error(err)
				return
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := ask(t, connection, `SELECT version || ' ' || label || ' ' || subdomain FROM `+schema+`.accounts, `+schema+`.schema_version`); got != "2 new kept" {
		t.Errorf("the database has %q", got)
	}
	_, err := Open(t.Context(), connection, Options{Schema: schema})
	wantHint(t, err, "newer version of cnamed: it has schema 2, this version knows 1")
}

func TestFailedMigrationChangesNothing(t *testing.T) {
	t.Parallel()
	connection, schema := newDatabase(t)
	_, err := Open(t.Context(), connection, Options{Schema: schema,
		migrations: later(`ALTER TABLE accounts ADD COLUMN label text; DROP TABLE tokens; SELECT nonsense`)})
	wantHint(t, err, "could not be migrated from schema 1 to 2: step 2: ")
	store, err := Open(t.Context(), connection, Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	n := 0
	if _, err := store.Load(t.Context(), func(*registry.Entry) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d accounts are left, %v", n, err)
	}
}

func TestExistingLeavesTheSchema(t *testing.T) {
	t.Parallel()
	connection, schema := place(t)
	_, err := Open(t.Context(), connection, Options{Schema: schema, Existing: true})
	if wantHint(t, err, "no tables"); !errors.Is(err, ErrAbsent) {
		t.Error("it is another error")
	}
	if got := ask(t, connection, `SELECT count(*)::text FROM pg_namespace WHERE nspname = '`+schema+`'`); got != "0" {
		t.Error("the schema was made")
	}
	connection, schema = newDatabase(t)
	_, err = Open(t.Context(), connection, Options{Schema: schema, Existing: true, migrations: later(`SELECT 1`)})
	wantHint(t, err, "older version of cnamed: it has schema 1, this version needs 2")
	store, err := Open(t.Context(), connection, Options{Schema: schema, Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
