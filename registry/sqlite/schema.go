package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// applicationID marks the file as ours (PRAGMA application_id): "cnmd".
const applicationID = 0x636e6d64

// migrations bring a database from version i to version i+1. The version is in
// the file itself (PRAGMA user_version) and rises in the same transaction. One
// that was released is never edited.
var migrations = []string{
	// Accounts are clustered by username, which is how they are changed, and
	// values by account, so that an update touches one page of the table.
	// Times are unix seconds.
	`
CREATE TABLE accounts (
	username      BLOB NOT NULL PRIMARY KEY CHECK (length(username) = 16),
	password_hash BLOB NOT NULL,          -- SHA-256, or bcrypt as text
	subdomain     TEXT NOT NULL,
	allow_from    TEXT,                   -- JSON list of CIDR prefixes; NULL: locked
	created       INTEGER NOT NULL,
	note          TEXT NOT NULL DEFAULT '',
	updated       INTEGER NOT NULL DEFAULT 0, -- newest value that was taken away; 0: none
	authenticated INTEGER NOT NULL DEFAULT 0  -- last, to the hour; 0: never
) STRICT, WITHOUT ROWID;

-- DNS does not tell names apart by case.
CREATE UNIQUE INDEX accounts_subdomain ON accounts (subdomain COLLATE NOCASE);

CREATE TABLE txt (
	username BLOB NOT NULL REFERENCES accounts ON DELETE CASCADE,
	value    TEXT NOT NULL,
	seq      INTEGER NOT NULL,            -- order of arrival, from zone.seq
	set_at   INTEGER NOT NULL,
	PRIMARY KEY (username, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (                     -- permissions to register
	id       TEXT NOT NULL PRIMARY KEY,
	hash     BLOB NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256
	note     TEXT NOT NULL,
	created  INTEGER NOT NULL,
	expires  INTEGER,                     -- NULL: never
	max_uses INTEGER,                     -- NULL: any number
	uses     INTEGER NOT NULL,
	used     INTEGER                      -- last; NULL: never
) STRICT, WITHOUT ROWID;

CREATE TABLE retired (                    -- names of deleted accounts that are not given again
	name TEXT NOT NULL COLLATE NOCASE PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE zone (                       -- one row
	id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
	serial     INTEGER NOT NULL,          -- rises with every commit that changes the zone
	seq        INTEGER NOT NULL,          -- of the newest value
	challenges TEXT NOT NULL DEFAULT '[]',-- values of our own _acme-challenge, JSON
	records    TEXT NOT NULL DEFAULT '',  -- fingerprint of the records that are not here
	probed     INTEGER NOT NULL DEFAULT 0 -- last proof that the database can be written
) STRICT;
`,
}

// migrate brings the schema up to date, each step in a transaction. It refuses
// files that are not ours and versions that it does not know.
func migrate(ctx context.Context, conn *sql.Conn, now time.Time) error {
	var id, version, tables int
	err := conn.QueryRowContext(ctx, `SELECT a.application_id, v.user_version,
		(SELECT count(*) FROM sqlite_schema) FROM pragma_application_id a, pragma_user_version v`).
		Scan(&id, &version, &tables)
	switch {
	case err != nil:
		return err
	case id != applicationID && (id != 0 || version != 0 || tables != 0):
		return errNoDatabase
	case version > len(migrations):
		return fmt.Errorf("%w: it has schema %d, this version knows %d", errNewer, version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		if err := step(ctx, conn, version, now); err != nil {
			return fmt.Errorf("migrating from schema %d: %w", version, err)
		}
	}
	return nil
}

func step(ctx context.Context, conn *sql.Conn, version int, now time.Time) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
		return err
	}
	if version == 0 {
		// Starting at the time lets a database that replaces a lost one go on
		// above the serials that secondaries have seen.
		_, err := tx.ExecContext(ctx, `INSERT INTO zone (id, serial, seq) VALUES (1, ?, 0)`, now.Unix())
		if err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d`,
		applicationID, version+1))
	if err != nil {
		return err
	}
	return tx.Commit()
}
