package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"cnamed/registry"
)

// importCache is the page cache during an import, in KiB, as a bound: pages are
// taken when they are needed. Accounts and values grow at their ends where they
// come in the order of usernames, but subdomains fall anywhere into their
// index, which is 70 MB for a million. When it does not fit, most of them read
// one page and write another. The driver's allocator needs twice as much.
const importCache = "98304"

// Import implements registry.Store. Until the end all new pages are in the
// write-ahead log, so that the disk needs room for them twice. Then the log is
// emptied and cut.
func (s *Store) Import(ctx context.Context, what registry.Import) (committed registry.Committed, err error) {
	restore, err := s.enlarge(ctx)
	if err != nil {
		return registry.Committed{}, failed("preparing an import", err)
	}
	defer func() { err = errors.Join(err, restore()) }()
	return s.transact(ctx, func(free context.Context) (registry.Committed, error) {
		i := importer{database: s.db, what: &what}
		if err := i.begin(free); err != nil {
			return registry.Committed{}, errors.Join(err, i.close())
		}
		committed, err := i.run(ctx, free)
		return committed, errors.Join(err, i.close())
	})
}

// run takes everything in. Statements run in free, which does not end with ctx.
func (i *importer) run(ctx, free context.Context) (committed registry.Committed, err error) {
	if i.what.Entries != nil {
		for entry, err := range i.what.Entries {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = i.add(free, entry)
			}
			if err != nil {
				return committed, err
			}
		}
	}
	for _, t := range i.what.Tokens {
		err := i.apply(free, registry.CreateToken{Token: t})
		switch {
		case errors.Is(refusal(0, err), registry.ErrExists) && i.what.TokenTaken != nil:
			i.what.TokenTaken(t)
		case err != nil && !errors.Is(refusal(0, err), registry.ErrExists):
			return committed, err
		}
	}
	for _, name := range i.what.Retired {
		if err := i.apply(free, registry.RetireName{Name: name}); err != nil {
			return committed, err
		}
	}
	return i.end(free)
}

// enlarge changes to the cache of an import, until restore.
func (s *Store) enlarge(ctx context.Context) (restore func() error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	var before string
	if err := s.db.conn.QueryRowContext(ctx, `PRAGMA cache_size`).Scan(&before); err != nil {
		return nil, err
	}
	set := func(size string) error {
		_, err := s.db.conn.ExecContext(context.WithoutCancel(ctx), `PRAGMA cache_size = `+size)
		return err
	}
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := set(before); err != nil {
			return failed("after an import", err)
		}
		// A reader from outside may keep the log busy; the next checkpoint
		// then does it.
		free := context.WithoutCancel(ctx)
		s.db.checkpoints.move(func() error {
			_, err := s.db.conn.ExecContext(free, `PRAGMA wal_checkpoint(TRUNCATE)`)
			return err
		})
		_, _ = s.db.conn.ExecContext(free, `PRAGMA shrink_memory`)
		return nil
	}, set("-" + importCache)
}

// importer is an import under way, in an open transaction.
type importer struct {
	*database
	what *registry.Import

	create                          *sql.Stmt
	byUsername, bySubdomain, values *sql.Stmt

	first, seq int64  // of values: before the import, and the last so far
	serial     uint64 // before the import
	added      bool
	again      bool // the entry before was there: perhaps all are
	retired    map[string]bool
	stored     registry.Entry // scratch
}

func (i *importer) begin(ctx context.Context) (err error) {
	// What comes is compared with what accounts has.
	for _, username := range slices.SortedFunc(maps.Keys(i.recent.newcomers), compareUUIDs) {
		if err := i.settleFirst(ctx, username); err != nil {
			return err
		}
	}
	if i.create, err = i.conn.PrepareContext(ctx, `INSERT INTO accounts (`+accountColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`); err != nil {
		return err
	}
	if i.byUsername, err = i.conn.PrepareContext(ctx, selectAccounts+` WHERE username = ?`); err != nil {
		return err
	}
	if i.bySubdomain, err = i.conn.PrepareContext(ctx, selectAccounts+` WHERE subdomain = ? COLLATE NOCASE`); err != nil {
		return err
	}
	if i.values, err = i.conn.PrepareContext(ctx, selectValues+` WHERE username = ?`); err != nil {
		return err
	}
	if i.first, i.serial, err = i.advanceBy(ctx, 0, 0, 0); err != nil {
		return err
	}
	names, err := i.retiredNames()
	if err != nil {
		return err
	}
	i.retired = make(map[string]bool, len(names))
	for _, name := range names {
		i.retired[strings.ToLower(name)] = true
	}
	i.seq = i.first
	return nil
}

func (i *importer) close() error {
	var errs []error
	for _, stmt := range []*sql.Stmt{i.create, i.byUsername, i.bySubdomain, i.values} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(errs...)
}

// add adds an entry, or has taken told why not. In an import that is repeated
// it looks first, which costs less than an insertion that fails.
func (i *importer) add(ctx context.Context, entry *registry.Entry) (err error) {
	if i.again {
		if i.again, err = i.find(ctx, i.byUsername, entry.Username[:]); err != nil {
			return err
		}
		if i.again {
			return i.what.Taken(entry, &i.stored)
		}
	}
	if len(i.retired) > 0 && i.retired[strings.ToLower(entry.Subdomain)] {
		return i.what.Taken(entry, nil)
	}
	err = insertAccount(ctx, i.create, &entry.Account)
	// SQLite takes the one statement back, and the transaction goes on.
	if errors.Is(refusal(0, err), registry.ErrExists) {
		return i.refuse(ctx, entry)
	}
	if err != nil {
		return err
	}
	i.added = true
	for _, v := range entry.Values {
		i.seq++
		if err := i.setValue(ctx, recentRow{seq: i.seq, username: entry.Username, value: v.TXT, at: v.At.Unix()}); err != nil {
			return err
		}
	}
	return nil
}

// refuse tells taken what is in the place of entry.
func (i *importer) refuse(ctx context.Context, entry *registry.Entry) error {
	found, err := i.find(ctx, i.byUsername, entry.Username[:])
	i.again = found
	if err == nil && !found {
		found, err = i.find(ctx, i.bySubdomain, entry.Subdomain)
	}
	if err == nil && !found {
		err = errDamaged // an index knows it, its table does not
	}
	if err != nil {
		return err
	}
	return i.what.Taken(entry, &i.stored)
}

// retiredNames are those that were committed before the import.
func (i *importer) retiredNames() ([]string, error) {
	c, err := openRaw(i.files.path)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.retired()
}

// find reads an account with its values, as they are in the transaction, into
// i.stored.
func (i *importer) find(ctx context.Context, stmt *sql.Stmt, key any) (found bool, err error) {
	a := &i.stored.Account
	var username, allowFrom sql.RawBytes
	var created, updated, authenticated int64
	account, err := stmt.QueryContext(ctx, key)
	if err != nil {
		return false, err
	}
	defer closeRows(account, &err)
	if !account.Next() {
		return false, account.Err()
	}
	err = account.Scan(&username, &a.PasswordHash, &a.Subdomain, &allowFrom, &created, &a.Note, &updated, &authenticated)
	if err != nil {
		return false, unreadable("an account", err)
	}
	copy(a.Username[:], username)
	a.Created, a.Updated, a.Authenticated = time.Unix(created, 0), timeOf(updated), timeOf(authenticated)
	setAllowFrom(a, allowFrom)
	return true, i.findValues(ctx)
}

// findValues reads the values of i.stored.
func (i *importer) findValues(ctx context.Context) (err error) {
	values, err := i.values.QueryContext(ctx, i.stored.Username[:])
	if err != nil {
		return err
	}
	defer closeRows(values, &err)
	var list []valueRow
	for values.Next() {
		var username sql.RawBytes
		var v valueRow
		var at int64
		if err := values.Scan(&username, &v.value.TXT, &v.seq, &at); err != nil {
			return unreadable("a value", err)
		}
		v.value.At = time.Unix(at, 0)
		list = append(list, v)
	}
	i.stored.Values = appendInOrder(i.stored.Values[:0], i.recent.applyTo(list, i.stored.Username))
	return values.Err()
}

func closeRows(rows *sql.Rows, err *error) { *err = errors.Join(*err, rows.Close()) }

// end notes what was added: the order of the next values, and the serial.
func (i *importer) end(ctx context.Context) (committed registry.Committed, err error) {
	step := i.what.NextSerial(i.serial, i.added) - i.serial
	_, committed.Serial, err = i.advanceBy(ctx, i.seq-i.first, int64(step), 0)
	return committed, err
}
