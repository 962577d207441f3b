//go:build unix

package acmedns

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cnamed/test/postgres"
)

// postgresSchema is that of acme-dns for PostgreSQL.
const postgresSchema = `
	CREATE TABLE acmedns (Name TEXT, Value TEXT);
	INSERT INTO acmedns VALUES ('db_version', '1');
	CREATE TABLE records (Username TEXT UNIQUE NOT NULL PRIMARY KEY, Password TEXT UNIQUE NOT NULL,
		Subdomain TEXT UNIQUE NOT NULL, AllowFrom TEXT);
	CREATE TABLE txt (rowid SERIAL, Subdomain TEXT NOT NULL, Value TEXT NOT NULL DEFAULT '', LastUpdate INT);`

// postgresPool starts a server and returns its connection string, and a way to
// write to it.
func postgresPool(t *testing.T) (connection string, pool *sql.DB) {
	t.Helper()
	if postgres.Binaries() == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("PostgreSQL is not installed, which CI must have")
		}
		t.Skip("PostgreSQL is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := postgres.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if pool, err = sql.Open("pgx", server.Connection()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return server.Connection(), pool
}

func execute(t *testing.T, pool *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := pool.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// withPostgreSQL closes the database before it returns: a change of the schema
// would wait for a transaction that has read it.
func withPostgreSQL(t *testing.T, connection string, f func(*Database)) {
	t.Helper()
	d, err := OpenPostgreSQL(t.Context(), connection)
	if err != nil {
		t.Fatal(err)
	}
	f(d)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	connection, pool := postgresPool(t)
	text := func(_ int, s string) string { return "'" + s + "'" }
	execute(t, pool, append([]string{postgresSchema}, oddStatements(text)...)...)
	withPostgreSQL(t, connection, func(d *Database) { wantOdd(t, d) })

	// lib/pq, with which acme-dns connects, takes this.
	withPostgreSQL(t, connection+" binary_parameters=yes fallback_application_name=acme-dns", func(d *Database) {
		if n, err := d.Len(t.Context()); n != len(odd) || err != nil || d.Version() != 1 {
			t.Errorf("%d accounts, %v, version %d", n, err, d.Version())
		}
		if _, err := d.tx.ExecContext(t.Context(), `DELETE FROM txt`); err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("the transaction can write: %v", err)
		}
	})

	execute(t, pool, `DROP TABLE txt, acmedns; ALTER TABLE records ADD COLUMN Value TEXT, ADD COLUMN LastActive INT;
		DELETE FROM records WHERE Subdomain <> 'plain'; UPDATE records SET Value = '`+txt(3)+`', LastActive = 7`)
	withPostgreSQL(t, connection, func(d *Database) {
		entries, findings := read(t, d)
		if d.Version() != 0 || len(entries) != 1 || findings != nil || !slices.Equal(texts(entries[0]), []string{txt(3)}) {
			t.Errorf("version %d: %v, %q", d.Version(), entries, findings)
		}
	})

	execute(t, pool, `DROP TABLE records`)
	if _, err := OpenPostgreSQL(t.Context(), connection); err == nil || !strings.Contains(err.Error(), "tables of acme-dns") {
		t.Errorf("without tables: %v", err)
	}
}

func TestPasswordOfTheConnectionIsNotShown(t *testing.T) {
	t.Parallel()
	for _, connection := range []string{
		"postgres://acmedns:geheim@127.0.0.1:1/acmedns?sslmode=disable",
		"host=127.0.0.1 port=1 user=acmedns password=geheim",
		"postgres://acmedns:geheim@127.0.0.1:notaport/acmedns",
	} {
		d, err := OpenPostgreSQL(t.Context(), connection)
		if err == nil {
			_ = d.Close()
			t.Fatal("somebody answers on port 1")
		}
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, "geheim") {
			t.Errorf("the error shows the password: %s", text)
		}
	}
}
