// Package acmedns reads what an acme-dns server left behind: its configuration
// file, and the accounts and values of its database.
//
// It promises that it only reads, also where the old server still runs, and
// that no account comes out more open than it was: one whose allow list is
// missing or unreadable comes out locked. What is not as it should be is told
// as a [Finding], account by account. What the configuration means for this
// program is not its business.
package acmedns

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// Error is an error with advice to the operator.
type Error struct {
	Err    error
	Remedy string
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what mends the error.
func (e *Error) Hint() string { return e.Remedy }

// Database is an open database of acme-dns: one read transaction, so that all
// that is read is of one moment. It is not safe for concurrent use.
type Database struct {
	pool    *sql.DB
	tx      *sql.Tx
	dialect dialect
	version int
	rowid   string // column that orders values of one second
}

// dialect is what differs between the two kinds of databases.
type dialect struct {
	columns string // query for the names of the columns of a table
	binary  string // collation that orders text by its bytes
}

var (
	sqliteDialect   = dialect{columns: `SELECT lower(name) FROM pragma_table_info($1)`}
	postgresDialect = dialect{
		columns: `SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
		binary:  ` COLLATE "C"`,
	}
)

// OpenSQLite opens the SQLite file at path. Errors have a Hint method.
func OpenSQLite(ctx context.Context, path string) (*Database, error) {
	dsn, err := sqliteDSN(path)
	if err == nil {
		var pool *sql.DB
		if pool, err = sql.Open("sqlite", dsn); err == nil {
			var d *Database
			if d, err = open(ctx, pool, sqliteDialect); err == nil {
				return d, nil
			}
		}
	}
	return nil, fmt.Errorf("opening the database of acme-dns, %s: %w", path, explain(err))
}

// SQLitePath returns the path of the file that connection, as it is in the
// configuration, means for the SQLite drivers of acme-dns.
func SQLitePath(connection string) string {
	path, _, _ := strings.Cut(strings.TrimPrefix(connection, "file:"), "?")
	return path
}

// sqliteDSN names path for reading alone. A database in WAL mode cannot be
// opened without writing beside it, unless SQLite is told that it does not
// change. That is so where there is no log: who has it open for writing has one,
// and an index of it, also before the first write. Where a crash left a log, all
// that SQLite may write is that index.
func sqliteDSN(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	wal, err := inWALMode(path)
	if err != nil {
		return "", err
	}
	query := url.Values{
		"mode":          {"ro"},
		"_busy_timeout": {"5000"},
		"_pragma":       {"cache_size(-8192)", "query_only(1)"},
	}
	if wal && !hasLog(path) {
		query.Set("immutable", "1")
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/… on Windows
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}
	return u.String(), nil
}

func hasLog(path string) bool {
	log, err := os.Stat(path + "-wal")
	if err == nil && log.Size() == 0 {
		_, err = os.Stat(path + "-shm")
	}
	return err == nil
}

// inWALMode reads the header of a database: octet 18 is 2 in WAL mode.
func inWALMode(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	header := make([]byte, 100)
	if _, err := io.ReadFull(f, header); err != nil || !strings.HasPrefix(string(header), "SQLite format 3\x00") {
		return false, errNoDatabase
	}
	return header[18] == 2, nil
}

// OpenPostgreSQL opens the database that a connection string leads to. Errors
// have a Hint method and do not show the password.
func OpenPostgreSQL(ctx context.Context, connection string) (*Database, error) {
	config, err := pgx.ParseConfig(connection)
	if err == nil {
		// What lib/pq, with which acme-dns connects, keeps to itself.
		delete(config.RuntimeParams, "binary_parameters")
		delete(config.RuntimeParams, "fallback_application_name")
		// Leaves nothing prepared, so that it works through a pooler.
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
		var d *Database
		if d, err = open(ctx, stdlib.OpenDB(*config), postgresDialect); err == nil {
			return d, nil
		}
	}
	return nil, fmt.Errorf("opening the database of acme-dns: %w", explain(err))
}

// open takes pool over.
func open(ctx context.Context, pool *sql.DB, dialect dialect) (_ *Database, err error) {
	pool.SetMaxOpenConns(1)
	d := &Database{pool: pool, dialect: dialect}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	options := &sql.TxOptions{ReadOnly: true}
	if dialect == postgresDialect {
		options.Isolation = sql.LevelRepeatableRead
	}
	if d.tx, err = pool.BeginTx(ctx, options); err != nil {
		return nil, err
	}
	return d, d.inspect(ctx)
}

// inspect finds out which schema the database has, and refuses others.
func (d *Database) inspect(ctx context.Context) error {
	records, err := d.columns(ctx, "records")
	if err != nil {
		return err
	}
	for _, c := range []string{"username", "password", "subdomain", "allowfrom"} {
		if !slices.Contains(records, c) {
			return errNoTables
		}
	}
	meta, err := d.columns(ctx, "acmedns")
	if err != nil {
		return err
	}
	if len(meta) > 0 {
		var version sql.NullString
		err := d.tx.QueryRowContext(ctx, `SELECT Value FROM acmedns WHERE Name = 'db_version'`).Scan(&version)
		switch {
		case errors.Is(err, sql.ErrNoRows), version.String == "0":
		case err != nil:
			return err
		case version.String == "1":
			d.version = 1
		default:
			return fmt.Errorf("%w: db_version is %q", errVersion, version.String)
		}
	}
	if d.version == 0 {
		// What acme-dns itself does with it at its next start is only this.
		if !slices.Contains(records, "value") || !slices.Contains(records, "lastactive") {
			return errNoTables
		}
		return nil
	}
	txt, err := d.columns(ctx, "txt")
	if err != nil {
		return err
	}
	for _, c := range []string{"subdomain", "value", "lastupdate"} {
		if !slices.Contains(txt, c) {
			return errNoTables
		}
	}
	d.rowid = "t.rowid"
	if d.dialect == postgresDialect && !slices.Contains(txt, "rowid") {
		d.rowid = "0"
	}
	return nil
}

func (d *Database) columns(ctx context.Context, table string) (names []string, err error) {
	rows, err := d.tx.QueryContext(ctx, d.dialect.columns, table)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// Version is that of the schema: 0 or 1.
func (d *Database) Version() int { return d.version }

// Close lets go of the database.
func (d *Database) Close() error {
	if d.tx != nil {
		_ = d.tx.Rollback() // of nothing
	}
	return d.pool.Close()
}

var (
	errNoDatabase = errors.New("the file is not an SQLite database")
	errNoTables   = errors.New("it does not have the tables of acme-dns")
	errVersion    = errors.New("the schema is newer than this program knows")
)

// explain adds to an error what mends it.
func explain(err error) error {
	var sqlite *driver.Error
	code := 0
	if errors.As(err, &sqlite) {
		code = sqlite.Code() & 0xff
	}
	remedy := "name the database with --database, as connection in the configuration of acme-dns does"
	switch {
	case errors.Is(err, errVersion):
		remedy = "install a newer version of cnamed"
	case code == lib.SQLITE_BUSY:
		remedy = "acme-dns is writing to it; stop acme-dns and try again"
	case code == lib.SQLITE_READONLY, code == lib.SQLITE_CANTOPEN:
		remedy = "if acme-dns crashed, start and stop it once, which completes its database"
	case code == lib.SQLITE_CORRUPT:
		remedy = `the file is damaged; sqlite3's command ".recover" may save most of it`
	case errors.Is(err, fs.ErrPermission):
		remedy = "run the import as a user who may read it, as root"
	case errors.As(err, new(*pgconn.ConnectError)):
		remedy = "is PostgreSQL running, and does this connection string work with psql?"
	case errors.As(err, new(*pgconn.PgError)):
		remedy = "the user of the connection string must be able to read the tables records, txt and acmedns"
	}
	return &Error{err, remedy}
}
