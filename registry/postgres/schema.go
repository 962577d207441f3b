package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// migrations bring a database from version i to version i+1, each in one
// transaction. One that was released is never edited. While nodes of two versions
// run, the older ones must be able to work with the newer schema.
var migrations = []string{
	// Times are unix seconds. lower() of the "C" collation is that of DNS: ASCII
	// letters alone.
	`
CREATE TABLE accounts (
	username      uuid   NOT NULL PRIMARY KEY,
	password_hash bytea  NOT NULL,             -- SHA-256, or bcrypt as text
	subdomain     text   NOT NULL,
	allow_from    text[],                      -- CIDR prefixes; NULL: locked
	created       bigint NOT NULL,
	note          text   NOT NULL,
	updated       bigint NOT NULL,             -- newest value that was taken away; 0: none
	authenticated bigint NOT NULL              -- last, to the hour; 0: never
);
CREATE UNIQUE INDEX accounts_subdomain ON accounts (lower(subdomain COLLATE "C"));

CREATE TABLE txt (
	username uuid   NOT NULL REFERENCES accounts ON DELETE CASCADE,
	value    text   NOT NULL,
	seq      bigint NOT NULL,                  -- order of arrival
	set_at   bigint NOT NULL,
	PRIMARY KEY (username, value)
);

CREATE TABLE tokens (                          -- permissions to register
	id       text   NOT NULL PRIMARY KEY,
	hash     bytea  NOT NULL UNIQUE,           -- SHA-256
	note     text   NOT NULL,
	created  bigint NOT NULL,
	expires  bigint,                           -- NULL: never
	max_uses bigint,                           -- NULL: any number
	uses     bigint NOT NULL,
	used     bigint                            -- last; NULL: never
);

CREATE TABLE retired (                         -- names of deleted accounts that are not given again
	name text NOT NULL
);
CREATE UNIQUE INDEX retired_name ON retired (lower(name COLLATE "C"));

CREATE TABLE zone (                            -- one row; who locks it has the turn
	id         int    NOT NULL PRIMARY KEY CHECK (id = 1),
	seq        bigint NOT NULL,                -- of the newest change
	serial     bigint NOT NULL,                -- rises with every change of the zone
	challenges text[] NOT NULL DEFAULT '{}',   -- values of our own _acme-challenge
	records    text   NOT NULL DEFAULT ''      -- fingerprint of the records that are not here
) WITH (fillfactor = 10);
INSERT INTO zone (id, seq, serial) VALUES (1, 0, floor(extract(epoch FROM now())));

CREATE TABLE probe (                           -- one row; proof that the database can be written
	id int    NOT NULL PRIMARY KEY CHECK (id = 1),
	at bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO probe VALUES (1, 0);

CREATE TABLE changes (                         -- the newest, for nodes that follow
	seq     bigint      NOT NULL PRIMARY KEY,  -- without gaps, in the order of commits
	serial  bigint      NOT NULL,
	process text        NOT NULL,              -- whose change it is
	made    timestamptz NOT NULL DEFAULT now(),
	batch   text        NOT NULL               -- JSON
);

CREATE TABLE nodes (                           -- the name servers that an update waits for
	id      uuid   NOT NULL PRIMARY KEY,
	process text   NOT NULL,                   -- application_name of its connections
	applied bigint NOT NULL,                   -- newest change that it serves
	renewal bigint NOT NULL                    -- rises while it lives
) WITH (fillfactor = 10);

CREATE TABLE secrets (
	name  text  NOT NULL PRIMARY KEY,
	value bytea NOT NULL
);

CREATE TABLE schema_version (version int NOT NULL);
INSERT INTO schema_version VALUES (0);
`,
}

// migrate brings the schema up to date, and makes it where there is none, in one
// transaction. Nodes that start at once do it one after the other. A copy of the
// database before is the operator's, by pg_dump.
func migrate(ctx context.Context, conn *pgx.Conn, opts *Options) error {
	schema, target := opts.Schema, len(opts.migrations)
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('cnamed'), hashtext($1))`, schema); err != nil {
			return err
		}
		version := 0
		var there, made bool
		err := tx.QueryRow(ctx, `SELECT to_regnamespace(quote_ident($1)) IS NOT NULL,
			to_regclass(quote_ident($1) || '.schema_version') IS NOT NULL`, schema).Scan(&there, &made)
		if err == nil && !made && opts.Existing {
			return ErrAbsent
		}
		if err == nil && !there {
			_, err = tx.Exec(ctx, `CREATE SCHEMA `+pgx.Identifier{schema}.Sanitize())
		}
		if err == nil && made {
			err = tx.QueryRow(ctx, `SELECT version FROM schema_version`).Scan(&version)
		}
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
		from := version
		for ; version < target; version++ {
			if _, err := tx.Exec(ctx, opts.migrations[version]); err != nil {
				return fmt.Errorf("%w from schema %d to %d: step %d: %w", errMigration, from, target, version+1, err)
			}
		}
		_, err = tx.Exec(ctx, `UPDATE schema_version SET version = $1`, version)
		return err
	})
}
