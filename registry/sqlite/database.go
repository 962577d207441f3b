package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// database is one open SQLite file: the connection that reads and writes, the
// statements prepared on it, and the checkpointer with its own.
type database struct {
	pool        *sql.DB
	conn        *sql.Conn
	checkpoints *checkpointer
	files       files

	recent     *recent
	mostRecent int // mostRecent, but for tests

	// Of the open transaction.
	arrived []recentRow
	born    map[uuid.UUID]int64 // accounts that it has created: the seq, and deleted: 0
	settled settled

	begin, commit, rollback  *sql.Stmt
	advance, probe           *sql.Stmt
	challenges, records      *sql.Stmt
	putValue, dropValue      *sql.Stmt // these and the next in txt
	removeValue              *sql.Stmt
	addRecent, removeRecent  *sql.Stmt
	addNewcomer              *sql.Stmt
	settleNewcomer           *sql.Stmt // into accounts, unless it is there
	removeNewcomers          *sql.Stmt
	createToken, revokeToken *sql.Stmt
	useToken                 *sql.Stmt
	life                     lifeStmts
	prepared                 []*sql.Stmt // all of them
}

// dsn is the name under which the driver opens path with our settings. As a
// URI: after a plain path the driver drops what SQLite itself should see.
func dsn(path string) string {
	return uri(path, url.Values{
		"mode":          {"rw"}, // the file was made before, with its mode
		"_txlock":       {"immediate"},
		"_busy_timeout": {"5000"}, // a reader from outside, at a checkpoint
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"1"},
		"_dqs":          {"0"},
		"_defensive":    {"1"},
		// The inner pages of a million accounts are 8 MB. Those that do not fit beside
		// the leaves are read again for nearly every write.
		"_pragma": {"cache_size(-16384)", "wal_autocheckpoint(0)"},
	})
}

// uri names the file at the absolute path for the driver.
func uri(path string, query url.Values) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/… on Windows
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}
	return u.String()
}

// openDatabase opens the existing file at path.
//
// It does not run SQLite's quick_check, which reads everything: a database
// that was cut short is refused by SQLite at the first statement, and the
// registry reads every account and value at start in any case, by the walk
// that finds damaged pages.
func openDatabase(ctx context.Context, path string, opts *Options) (_ *database, err error) {
	before, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	log, _ := os.Stat(path + walSuffix)
	d := &database{mostRecent: cmp.Or(opts.mostRecent, mostRecent), born: make(map[uuid.UUID]int64)}
	if d.pool, err = sql.Open("sqlite", dsn(path)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	// The connection is never given back: what is prepared on it stays.
	d.pool.SetMaxOpenConns(1)
	if d.conn, err = d.pool.Conn(ctx); err != nil {
		return nil, err
	}
	if err := checkSettings(ctx, d.conn); err != nil {
		return nil, err
	}
	if err := checkSize(ctx, d.conn, before, log); err != nil {
		return nil, err
	}
	if err := migrate(ctx, d.conn, path, opts); err != nil {
		return nil, err
	}
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	// What a killed process had written to the log, and not flushed, is part of the
	// database now: this flushes it, before anybody is told of it.
	if _, err := d.probe.ExecContext(ctx, opts.Now().Unix()); err != nil {
		return nil, err
	}
	if d.recent, err = readRecent(path); err != nil {
		return nil, err
	}
	if d.checkpoints, err = startCheckpointer(path, opts.Log); err != nil {
		return nil, err
	}
	d.files, err = identify(path, before)
	return d, err
}

// checkSettings makes sure that durability is as promised, whatever became of
// the parameters on their way.
func checkSettings(ctx context.Context, conn *sql.Conn) error {
	for _, want := range []struct{ pragma, value string }{
		{"journal_mode", "wal"}, {"synchronous", "2"}, {"foreign_keys", "1"},
	} {
		var got string
		if err := conn.QueryRowContext(ctx, "PRAGMA "+want.pragma).Scan(&got); err != nil {
			return err
		}
		if got != want.value {
			return fmt.Errorf("%s is %q and not %q: the file system may not support it",
				want.pragma, got, want.value)
		}
	}
	return nil
}

func readPageSize(ctx context.Context, conn *sql.Conn) (octets int64, err error) {
	err = conn.QueryRowContext(ctx, `PRAGMA page_size`).Scan(&octets)
	return octets, err
}

// checkSize refuses a file that ends within a page, which SQLite would fill up
// with zeros. Only an interrupted checkpoint leaves one rightly, and then the
// log has the page.
func checkSize(ctx context.Context, conn *sql.Conn, file, log fs.FileInfo) error {
	page, err := readPageSize(ctx, conn)
	if err != nil {
		return err
	}
	if file.Size()%page != 0 && (log == nil || log.Size() == 0) {
		return errTruncated
	}
	return nil
}

func (d *database) prepare(ctx context.Context) error {
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		// Statements of the connection and not of a sql.Tx, which would
		// prepare each of them again for every transaction.
		{&d.begin, `BEGIN IMMEDIATE`},
		{&d.commit, `COMMIT`},
		{&d.rollback, `ROLLBACK`},
		{&d.advance, `UPDATE zone SET seq = seq + ?, serial = serial + ?, waiting = waiting + ? RETURNING seq, serial`},
		// Another value each time: a page that stays as it is is not written.
		{&d.probe, `UPDATE zone SET probed = max(probed + 1, ?)`},
		{&d.challenges, `UPDATE zone SET challenges = ?`},
		{&d.records, `UPDATE zone SET records = ?`},
		{&d.putValue, `INSERT INTO txt (username, value, seq, set_at) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET seq = excluded.seq, set_at = excluded.set_at`},
		{&d.dropValue, `DELETE FROM txt WHERE username = ? AND value = ? AND set_at = ?`},
		{&d.removeValue, `DELETE FROM txt WHERE username = ? AND value = ?`},
		{&d.addRecent, `INSERT INTO recent (seq, username, kind, value, set_at) VALUES (?, ?, ?, ?, ?)`},
		{&d.addNewcomer, `INSERT INTO newcomers (` + accountColumns + `, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&d.settleNewcomer, `INSERT INTO accounts (` + accountColumns + `) SELECT ` + accountColumns + `
			FROM newcomers WHERE seq = ? ON CONFLICT (username) DO NOTHING`},
		{&d.removeRecent, removeOldest("recent")},
		{&d.removeNewcomers, removeOldest("newcomers")},
		{&d.createToken, `INSERT INTO tokens (id, hash, note, created, expires, max_uses, uses, used)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`},
		{&d.revokeToken, `DELETE FROM tokens WHERE id = ?`},
		{&d.useToken, `UPDATE tokens SET uses = uses + 1, used = ?
			WHERE id = ? AND (max_uses IS NULL OR uses < max_uses)`},
		{&d.life.deleteAccount, `DELETE FROM accounts WHERE username = ?`},
		{&d.life.setPassword, `UPDATE accounts SET password_hash = ? WHERE username = ?`},
		{&d.life.setAllowFrom, `UPDATE accounts SET allow_from = ? WHERE username = ?`},
		{&d.life.setNote, `UPDATE accounts SET note = ? WHERE username = ?`},
		{&d.life.markUsed, `UPDATE accounts SET updated = max(updated, ?), authenticated = max(authenticated, ?)
			WHERE username = ?`},
		{&d.life.retireName, `INSERT INTO retired (name) VALUES (?) ON CONFLICT DO NOTHING`},
		{&d.life.releaseName, `DELETE FROM retired WHERE name = ?`},
	} {
		stmt, err := d.conn.PrepareContext(ctx, p.text)
		if err != nil {
			return unreadable("the schema", err)
		}
		*p.stmt = stmt
		d.prepared = append(d.prepared, stmt)
	}
	return nil
}

// removeOldest removes rows from a table, the oldest first: up to a seq, and to the row
// with so many before it.
func removeOldest(table string) string {
	return `DELETE FROM ` + table + ` WHERE seq <= min(?1,
		coalesce((SELECT seq FROM ` + table + ` ORDER BY seq LIMIT 1 OFFSET ?2), ?1))`
}

// close closes the statements first: database/sql leaves those of a connection
// to us, and SQLite keeps a connection alive, with its files and locks, until
// the last of them is closed.
func (d *database) close() error {
	var errs []error
	if d.checkpoints != nil {
		d.checkpoints.close()
	}
	for _, stmt := range d.prepared {
		errs = append(errs, stmt.Close())
	}
	if d.conn != nil {
		errs = append(errs, d.conn.Close())
	}
	return errors.Join(append(errs, d.pool.Close())...)
}
