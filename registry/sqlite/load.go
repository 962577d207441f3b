package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	lib "modernc.org/sqlite/lib"

	"cnamed/registry"
)

// Load implements registry.Store. It walks both tables side by side, each in
// the order in which it lies in the file, so that nothing is sorted and a
// million accounts are read once.
func (s *Store) Load(ctx context.Context, each func(*registry.Entry) error) (registry.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return registry.State{}, errClosed
	}
	state, err := s.db.state(ctx)
	if err == nil {
		err = s.db.load(ctx, each)
	}
	if err != nil {
		return registry.State{}, failed("reading "+s.path, err)
	}
	return state, nil
}

// unreadable says that what was read is not what was written, unless err is
// SQLite's own or that of a context. SQLite's general error is that of a table or
// a column that is not there.
func unreadable(what string, err error) error {
	if c := code(err); err == nil || c != 0 && c != lib.SQLITE_ERROR || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", errDamaged, what, err)
}

func (d *database) state(ctx context.Context) (state registry.State, err error) {
	var challenges []byte
	err = d.conn.QueryRowContext(ctx, `SELECT serial, challenges, records FROM zone`).
		Scan(&state.Serial, &challenges, &state.Records)
	if err != nil {
		return state, unreadable("the row of the zone", err)
	}
	if err := json.Unmarshal(challenges, &state.Challenges); err != nil {
		return state, fmt.Errorf("%w: the values of the own challenge: %w", errDamaged, err)
	}
	if state.Tokens, err = d.tokens(ctx); err != nil {
		return state, err
	}
	state.Retired, err = d.retired(ctx)
	return state, err
}

func (d *database) load(ctx context.Context, each func(*registry.Entry) error) (err error) {
	accounts, err := d.conn.QueryContext(ctx, selectAccounts+` ORDER BY username`)
	if err != nil {
		return err
	}
	defer closeRows(accounts, &err)
	values := &valueCursor{}
	values.rows, err = d.conn.QueryContext(ctx, selectValues+` ORDER BY username`)
	if err != nil {
		return err
	}
	defer closeRows(values.rows, &err)
	if err := values.next(); err != nil {
		return err
	}
	var entry registry.Entry
	count := 0
	for ; accounts.Next(); count++ {
		if err := scanAccount(accounts, &entry.Account); err != nil {
			return err
		}
		if entry.Values, err = values.of(entry.Username, entry.Values[:0]); err != nil {
			return err
		}
		if err := each(&entry); err != nil {
			return err
		}
	}
	if err := accounts.Err(); err != nil {
		return err
	}
	if !values.done {
		return errNoAccount
	}
	return d.checkCount(ctx, count)
}

// errNoAccount: foreign keys keep that from being.
var errNoAccount = fmt.Errorf("%w: there are values of an account that is not there", errDamaged)

// checkCount compares how many accounts the walk has met with how many are in the
// index of subdomains. A page that was damaged can look like one with fewer rows.
// Values have no index: there it goes unnoticed, as a letter in a note does.
func (d *database) checkCount(ctx context.Context, count int) error {
	var indexed int
	err := d.conn.QueryRowContext(ctx, `SELECT count(*) FROM accounts INDEXED BY accounts_subdomain`).Scan(&indexed)
	if err == nil && indexed != count {
		err = fmt.Errorf("%w: there are %d accounts, and %d in the index", errDamaged, count, indexed)
	}
	return err
}

// What scanAccount and valueCursor read.
const (
	selectAccounts = `SELECT username, password_hash, subdomain, allow_from, created, note, updated, authenticated FROM accounts`
	selectValues   = `SELECT username, value, seq, set_at FROM txt`
)

func closeRows(rows *sql.Rows, err *error) { *err = errors.Join(*err, rows.Close()) }

// scanAccount reads a row into a, whose slices and text it uses again.
func scanAccount(rows *sql.Rows, a *registry.Account) error {
	var username, hash, allowFrom sql.RawBytes
	var created, updated, authenticated int64
	err := rows.Scan(&username, &hash, &a.Subdomain, &allowFrom, &created, &a.Note, &updated, &authenticated)
	if err != nil {
		return unreadable("an account", err)
	}
	if len(username) != len(a.Username) {
		return fmt.Errorf("%w: an account with a username of %d octets", errDamaged, len(username))
	}
	copy(a.Username[:], username)
	a.PasswordHash = append(a.PasswordHash[:0], hash...)
	a.Created, a.Updated, a.Authenticated = time.Unix(created, 0), timeOf(updated), timeOf(authenticated)
	a.AllowFrom, a.Locked = a.AllowFrom[:0], false
	if string(allowFrom) == "[]" {
		return nil
	}
	// NULL is locked, and so is what cannot be read: it was a restriction once.
	a.Locked = allowFrom == nil || json.Unmarshal(allowFrom, &a.AllowFrom) != nil || a.AllowFrom == nil
	return nil
}

// valueCursor walks the values, in the order of accounts.
type valueCursor struct {
	rows     *sql.Rows
	done     bool
	username uuid.UUID // of the current row, with the value and seq
	value    registry.Value
	seq      int64

	order []sequenced // scratch
}

type sequenced struct {
	registry.Value
	seq int64
}

func (c *valueCursor) next() error {
	if !c.rows.Next() {
		c.done = true
		return c.rows.Err()
	}
	var username sql.RawBytes
	var at int64
	if err := c.rows.Scan(&username, &c.value.TXT, &c.seq, &at); err != nil {
		return unreadable("a value", err)
	}
	if len(username) != len(c.username) {
		return fmt.Errorf("%w: a value with a username of %d octets", errDamaged, len(username))
	}
	copy(c.username[:], username)
	c.value.At = time.Unix(at, 0)
	return nil
}

// of appends the values of an account, the oldest first. Accounts are asked for
// in order.
func (c *valueCursor) of(username uuid.UUID, dst []registry.Value) ([]registry.Value, error) {
	c.order = c.order[:0]
	for !c.done && bytes.Compare(c.username[:], username[:]) <= 0 {
		if c.username != username {
			return dst, errNoAccount
		}
		c.order = append(c.order, sequenced{c.value, c.seq})
		if err := c.next(); err != nil {
			return dst, err
		}
	}
	slices.SortFunc(c.order, func(a, b sequenced) int { return cmp.Compare(a.seq, b.seq) })
	for _, v := range c.order {
		dst = append(dst, v.Value)
	}
	return dst, nil
}
