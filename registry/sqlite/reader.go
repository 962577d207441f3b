package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"cnamed/registry"
)

// Reader reads a database, also one that a server uses meanwhile: what it reads
// is of one moment, and nobody who writes waits for it. But until it is done the
// write-ahead log grows, which cannot be emptied beyond that moment.
//
// It needs the right to write the files beside the database, in which SQLite
// keeps who reads: it is for the server's user, and root.
type Reader struct {
	path string
	db   *database
}

// OpenReader opens the database at path for reading. Errors are as those of
// Open; one that is in use is none.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("reading the database: %w", err)
	}
	var db *database
	if err = checkLogForReading(ctx, path); err == nil {
		db, err = openForReading(ctx, path, url.Values{"mode": {"rw"}, "_busy_timeout": {"5000"}, "_dqs": {"0"}, "_defensive": {"1"}})
	}
	if err != nil {
		return nil, fmt.Errorf("reading the database %s: %w", path, explain(err))
	}
	return &Reader{path, db}, nil
}

// inUseFor is how long a log must look damaged that another process may write.
const inUseFor = 2 * time.Second

// checkLogForReading refuses a damaged log: the connection of a reader can be the last
// one, and would move what is before the damage into the database, and remove the rest.
// Where nobody has the lock the log stays as it is. Else it may be written meanwhile, so
// that what is read is of no moment, and so it is looked at again: by a server, which
// has looked at it when it started, or one that is just about to find the damage.
func checkLogForReading(ctx context.Context, path string) error {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for until := time.Now().Add(inUseFor); ; {
		err := checkLog(path + walSuffix)
		if !errors.Is(err, errDamagedLog) {
			return err
		}
		lock, busy := lockFile(path + lockSuffix)
		switch {
		case busy == nil:
			inheritOwner(lock.Name(), path, filepath.Dir(path))
			return errors.Join(checkLog(path+walSuffix), unlockFile(lock))
		case !errors.Is(busy, ErrInUse):
			return errors.Join(err, busy)
		case time.Now().After(until):
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// openForReading opens a file that is ours, and of a version that we know.
func openForReading(ctx context.Context, path string, query url.Values) (_ *database, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(path, info.Size()); err != nil {
		return nil, err
	}
	d := &database{}
	if d.pool, err = sql.Open("sqlite", uri(path, query)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	d.pool.SetMaxOpenConns(1)
	if d.conn, err = d.pool.Conn(ctx); err != nil {
		return nil, err
	}
	version, err := readVersion(ctx, d.conn)
	switch {
	case err != nil:
		return nil, err
	case version > len(migrations):
		return nil, fmt.Errorf("%w: it has schema %d, this version knows %d", errNewer, version, len(migrations))
	}
	return d, nil
}

// Close closes the reader.
func (r *Reader) Close() error { return r.db.close() }

// Export implements registry.Exporter.
func (r *Reader) Export(ctx context.Context, begin func(registry.State) error, each func(*registry.Entry) error) error {
	version, err := readVersion(ctx, r.db.conn)
	if err == nil && version < len(migrations) {
		err = fmt.Errorf("%w: it has schema %d, this version needs %d", errOlder, version, len(migrations))
	}
	if err != nil {
		return failed("reading", err)
	}
	var stop error // of begin or each
	err = r.export(ctx, func(state registry.State) error {
		stop = begin(state)
		return stop
	}, func(e *registry.Entry) error {
		stop = each(e)
		return stop
	})
	if err == nil || stop != nil {
		return stop
	}
	return failed("reading", err)
}

// export reads all in one transaction, which sees one moment.
func (r *Reader) export(ctx context.Context, begin func(registry.State) error, each func(*registry.Entry) error) error {
	c, err := openRaw(r.path)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.exec(`BEGIN`); err != nil {
		return err
	}
	state, err := c.state()
	if err != nil {
		return err
	}
	if err := begin(state); err != nil {
		return err
	}
	recent, err := c.recent()
	if err != nil {
		return err
	}
	w, err := newWalk(c, c, recent)
	if err != nil {
		return err
	}
	defer w.close()
	return w.run(ctx, each)
}

// Info describes a database.
type Info struct {
	Schema   int
	Serial   uint64
	Accounts int
}

// CopyTo writes all that was committed before to the empty file at path, which is
// a database then that needs no other file. When it returns nil the content is on
// the disk. progress, unless it is nil, is called now and then, by another
// goroutine, with the bytes that are written and about how many there will be.
func (r *Reader) CopyTo(ctx context.Context, path string, progress func(done, total int64)) (Info, error) {
	stop := r.watch(ctx, path, progress)
	err := copyTo(ctx, r.db.conn, path)
	stop()
	if err != nil {
		return Info{}, fmt.Errorf("copying the database: %w", explain(err))
	}
	return Check(ctx, path)
}

// watch calls progress until stop is called, which waits for it.
func (r *Reader) watch(ctx context.Context, path string, progress func(done, total int64)) (stop func()) {
	var total int64
	err := r.db.conn.QueryRowContext(ctx, `SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`).Scan(&total)
	if progress == nil || err != nil || total == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticks := time.NewTicker(200 * time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
				if info, err := os.Stat(path); err == nil {
					progress(min(info.Size(), total), total)
				}
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// copyTo writes a consistent copy of a database to the empty file at path,
// durably.
func copyTo(ctx context.Context, conn *sql.Conn, path string) error {
	if _, err := conn.ExecContext(ctx, `VACUUM INTO ?`, path); err != nil {
		return err
	}
	return syncFile(path)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Check reads all of the file at path, a copy that nobody uses, and returns an
// error unless it is an undamaged database of this program.
func Check(ctx context.Context, path string) (info Info, err error) {
	path, err = filepath.Abs(path)
	if err == nil {
		info, err = check(ctx, path)
	}
	if err != nil {
		return Info{}, fmt.Errorf("checking %s: %w", path, explain(err))
	}
	return info, nil
}

func check(ctx context.Context, path string) (info Info, err error) {
	// Immutable: nothing is locked, and no file made beside it.
	db, err := openForReading(ctx, path, url.Values{"mode": {"ro"}, "immutable": {"1"}})
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	file, err := os.Stat(path)
	if err != nil {
		return info, err
	}
	if err := checkSize(ctx, db.conn, file, nil); err != nil {
		return info, err
	}
	var found string // the first of perhaps many
	if err := db.conn.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&found); err != nil {
		return info, err
	}
	if found != "ok" {
		return info, fmt.Errorf("%w: %s", errDamaged, found)
	}
	var broken int
	err = db.conn.QueryRowContext(ctx, `SELECT (SELECT user_version FROM pragma_user_version), (SELECT serial FROM zone),
		(SELECT count(*) FROM accounts), (SELECT count(*) FROM pragma_foreign_key_check)`).
		Scan(&info.Schema, &info.Serial, &info.Accounts, &broken)
	if err == nil && broken > 0 {
		err = fmt.Errorf("%w: %d values of no account", errDamaged, broken)
	}
	if err != nil || info.Schema < schemaWithNewcomers {
		return info, err
	}
	newcomers, err := db.checkNewcomers(ctx)
	info.Accounts += newcomers
	return info, err
}

// checkNewcomers counts the newcomers that exist and are not in accounts. It refuses a
// database that has fewer rows waiting than it says, or values of no account among them.
func (d *database) checkNewcomers(ctx context.Context) (count int, err error) {
	var rows, waiting, strays int
	err = d.conn.QueryRowContext(ctx, `
		WITH ended AS MATERIALIZED (SELECT username, max(seq) AS seq FROM recent WHERE kind = ?1 GROUP BY username),
			alive AS MATERIALIZED (SELECT n.username FROM newcomers n LEFT JOIN ended e ON e.username = n.username AND e.seq > n.seq
				WHERE e.username IS NULL)
		SELECT (SELECT count(*) FROM recent) + (SELECT count(*) FROM newcomers), (SELECT waiting FROM zone),
			(SELECT count(*) FROM alive WHERE username NOT IN (SELECT username FROM accounts)),
			(SELECT count(*) FROM recent r LEFT JOIN ended e ON e.username = r.username AND e.seq > r.seq
				WHERE kind = ?2 AND e.username IS NULL AND r.username NOT IN (SELECT username FROM accounts)
				AND r.username NOT IN (SELECT username FROM alive))`, int64(accountDeleted), int64(valueSet)).
		Scan(&rows, &waiting, &count, &strays)
	switch {
	case err != nil:
	case rows != waiting:
		err = fmt.Errorf("%w: %d rows wait, and the zone has %d", errDamaged, rows, waiting)
	case strays > 0:
		err = errNoAccount
	}
	return count, err
}

var _ registry.Exporter = (*Reader)(nil)
