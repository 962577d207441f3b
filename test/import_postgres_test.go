//go:build unix

package test

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver

	"cnamed/test/postgres"
)

func TestAccountsOfAcmeDNSOnPostgreSQLLogInAfterTheImport(t *testing.T) {
	t.Parallel()
	required(t, postgres.Binaries() != "", "PostgreSQL is not installed")
	server, err := postgres.Start(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	copyFixture(t, server.Connection())
	newImport(t, "postgres", server.Connection()).check(t, readFixture(t), true)
}

// copyFixture copies the fixture to PostgreSQL, into the tables that acme-dns
// makes there.
func copyFixture(t *testing.T, connection string) {
	t.Helper()
	from, err := sql.Open("sqlite", "file:"+filepath.Join(fixture, "acme-dns.db")+"?mode=ro&immutable=1")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := sql.Open("pgx", connection)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	_, err = to.ExecContext(t.Context(), `
		CREATE TABLE acmedns (Name TEXT, Value TEXT);
		CREATE TABLE records (Username TEXT UNIQUE NOT NULL PRIMARY KEY, Password TEXT UNIQUE NOT NULL,
			Subdomain TEXT UNIQUE NOT NULL, AllowFrom TEXT);
		CREATE TABLE txt (rowid SERIAL, Subdomain TEXT NOT NULL, Value TEXT NOT NULL DEFAULT '', LastUpdate INT)`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		read, write string
		columns     int
	}{
		{`SELECT Name, Value FROM acmedns`, `INSERT INTO acmedns VALUES ($1, $2)`, 2},
		{`SELECT Username, CAST(Password AS TEXT), Subdomain, AllowFrom FROM records`, `INSERT INTO records VALUES ($1, $2, $3, $4)`, 4},
		{`SELECT Subdomain, Value, LastUpdate FROM txt ORDER BY rowid`, `INSERT INTO txt (Subdomain, Value, LastUpdate) VALUES ($1, $2, $3)`, 3},
	} {
		rows, err := from.QueryContext(t.Context(), c.read)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		row, into := make([]any, c.columns), make([]any, c.columns)
		for i := range row {
			into[i] = &row[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			if _, err := to.ExecContext(t.Context(), c.write, row...); err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
}
