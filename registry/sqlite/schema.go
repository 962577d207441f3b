package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	// Changes of values are written here first, one behind the other, and moved into
	// txt when there are many.
	`
CREATE TABLE recent (
	seq      INTEGER NOT NULL PRIMARY KEY, -- order of arrival, from zone.seq
	username BLOB NOT NULL CHECK (length(username) = 16),
	kind     INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3), -- set; dropped, if set at set_at; the account was deleted
	value    TEXT NOT NULL,
	set_at   INTEGER NOT NULL
) STRICT;
`,
	// So are new accounts, which are moved into accounts.
	`
CREATE TABLE newcomers (
	seq           INTEGER NOT NULL PRIMARY KEY, -- order of arrival, among those of recent
	username      BLOB NOT NULL CHECK (length(username) = 16),
	password_hash BLOB NOT NULL,
	subdomain     TEXT NOT NULL,
	allow_from    TEXT,
	created       INTEGER NOT NULL,
	note          TEXT NOT NULL,
	updated       INTEGER NOT NULL,
	authenticated INTEGER NOT NULL
) STRICT;

ALTER TABLE zone ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0; -- rows of recent and newcomers
UPDATE zone SET waiting = (SELECT count(*) FROM recent);
`,
}

// schemaWithNewcomers is the first version that has the table.
const schemaWithNewcomers = 3

// readVersion returns the version of the schema, 0 for an empty file. It refuses
// files that are not ours.
func readVersion(ctx context.Context, conn *sql.Conn) (version int, err error) {
	var id, tables int
	err = conn.QueryRowContext(ctx, `SELECT a.application_id, v.user_version,
		(SELECT count(*) FROM sqlite_schema) FROM pragma_application_id a, pragma_user_version v`).
		Scan(&id, &version, &tables)
	if err == nil && id != applicationID && (id != 0 || version != 0 || tables != 0) {
		err = errNoDatabase
	}
	if err == nil && version < 0 {
		err = fmt.Errorf("%w: schema %d", errDamaged, version)
	}
	return version, err
}

// migrate brings the schema up to date, in one transaction, and before that keeps
// a copy of a database that has something in it. It refuses files that are not
// ours and versions that it does not know.
func migrate(ctx context.Context, conn *sql.Conn, path string, opts *Options) error {
	version, err := readVersion(ctx, conn)
	target := len(opts.migrations)
	switch {
	case err != nil:
		return err
	case version > target:
		return fmt.Errorf("%w: it has schema %d, this version knows %d", errNewer, version, target)
	case version == target:
		return nil
	case opts.Existing:
		return fmt.Errorf("%w: it has schema %d, this version needs %d", errOlder, version, target)
	}
	kept := ""
	if version > 0 {
		if kept, err = keepCopy(ctx, conn, path, version, opts.Now()); err != nil {
			return fmt.Errorf("copying the database before its migration from schema %d to %d: %w", version, target, err)
		}
	}
	committing, err := runMigrations(ctx, conn, version, opts)
	if err != nil {
		// Nothing has changed. A server that is started again and again must not
		// fill the disk with copies.
		if kept != "" && !committing {
			err = errors.Join(err, os.Remove(kept))
		}
		return fmt.Errorf("%w from schema %d to %d: %w", errMigration, version, target, err)
	}
	if kept != "" {
		opts.Log.Info("the database was migrated", "from", version, "to", target, "copy", kept)
	}
	return nil
}

// runMigrations does all steps from version on, or none. committing says that an
// error is that of the commit, after which nobody knows.
//
// Foreign keys are off meanwhile: a step that replaces a table by another would
// delete what refers to it. They are checked at the end.
func runMigrations(ctx context.Context, conn *sql.Conn, version int, opts *Options) (committing bool, err error) {
	if _, err := conn.ExecContext(ctx, `PRAGMA foreign_keys = OFF`); err != nil {
		return false, err
	}
	defer func() {
		_, on := conn.ExecContext(context.WithoutCancel(ctx), `PRAGMA foreign_keys = ON`)
		err = errors.Join(err, on)
	}()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	for ; version < len(opts.migrations); version++ {
		if _, err := tx.ExecContext(ctx, opts.migrations[version]); err != nil {
			return false, fmt.Errorf("step %d: %w", version+1, err)
		}
		if version > 0 {
			continue
		}
		// Starting at the time lets a database that replaces a lost one go on
		// above the serials that secondaries have seen.
		_, err := tx.ExecContext(ctx, `INSERT INTO zone (id, serial, seq) VALUES (1, ?, 0)`, opts.Now().Unix())
		if err != nil {
			return false, err
		}
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d`, applicationID, version))
	if err != nil {
		return false, err
	}
	var broken int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM pragma_foreign_key_check`).Scan(&broken); err != nil {
		return false, err
	}
	if broken > 0 {
		return false, fmt.Errorf("%d rows would refer to nothing", broken)
	}
	return true, tx.Commit()
}

// stamp is a time in the name of a file.
func stamp(t time.Time) string { return t.UTC().Format("20060102T150405Z") }

const keepSuffix = "-keep"

// keepCopy writes a copy of the database beside it, named by its version and the
// time.
func keepCopy(ctx context.Context, conn *sql.Conn, path string, version int, now time.Time) (kept string, err error) {
	part := path + keepSuffix
	if err := removeFile(part); err != nil {
		return "", err
	}
	if err := makeFile(part); err != nil {
		return "", err
	}
	err = copyTo(ctx, conn, part)
	if err == nil {
		inheritOwner(part, path)
		kept, err = placeBeside(part, fmt.Sprintf("%s.schema-%d-%s", path, version, stamp(now)))
	}
	if err != nil {
		return "", errors.Join(err, removeFile(part))
	}
	return kept, syncFolder(filepath.Dir(path))
}
