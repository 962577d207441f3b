package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	lib "modernc.org/sqlite/lib"

	"cnamed/registry"
)

// Load implements registry.Store. It walks accounts and txt side by side, each
// in the order in which it lies in the file, so that they are not sorted and a
// million accounts are read once; and beside them the newcomers. Each table has
// a connection and a goroutine of its own, and the caller's takes in what they
// have read. They see the same: the registry writes nothing meanwhile.
func (s *Store) Load(ctx context.Context, each func(*registry.Entry) error) (registry.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return registry.State{}, errClosed
	}
	state, err := s.load(ctx, each)
	if err == nil {
		err = s.db.files.check() // what was read was the open file
	}
	if err != nil {
		return registry.State{}, failed("reading "+s.path, err)
	}
	return state, nil
}

func (s *Store) load(ctx context.Context, each func(*registry.Entry) error) (state registry.State, err error) {
	// To open another file that is there by now would mix it with the log of this one.
	if err := s.db.files.check(); err != nil {
		return state, err
	}
	first, err := openRaw(s.path)
	if err != nil {
		return state, err
	}
	defer first.close()
	second, err := openRaw(s.path)
	if err != nil {
		return state, err
	}
	defer second.close()
	if state, err = first.state(); err != nil {
		return state, err
	}
	w, err := newWalk(first, second, s.db.recent)
	if err != nil {
		return state, err
	}
	defer w.close()
	w.accounts.ahead()
	w.values.ahead()
	return state, w.run(ctx, each)
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

// state reads what there is beside the accounts.
func (c *rawConn) state() (state registry.State, err error) {
	q, err := c.rows("the row of the zone", `SELECT serial, challenges, records FROM zone`)
	if err != nil {
		return state, err
	}
	defer q.close()
	if !q.next() {
		if q.err == nil {
			q.err = fmt.Errorf("%w: the row of the zone is not there", errDamaged)
		}
		return state, q.err
	}
	serial, challenges := q.integer(0), q.octets(1)
	if serial < 0 {
		q.odd(0)
	}
	state.Serial, state.Records = uint64(serial), q.text(2)
	if q.err != nil {
		return state, q.err
	}
	if err := json.Unmarshal(challenges, &state.Challenges); err != nil {
		return state, fmt.Errorf("%w: the values of the own challenge: %w", errDamaged, err)
	}
	if state.Tokens, err = c.tokens(); err != nil {
		return state, err
	}
	state.Retired, err = c.retired()
	return state, err
}

// walk visits all accounts with their values.
type walk struct {
	accounts *rows[registry.Account]
	values   *rows[valueRow]
	counter  *rawConn // whose walk through the accounts is over when it counts
	recent   *recent
	waiting  []registry.Account // newcomers that were not met, in the order of usernames
	owners   map[uuid.UUID]bool // of values in recent, that were not met

	of []valueRow // scratch
}

// valueRow is a value, whose it is, and its place in the order of arrival.
type valueRow struct {
	username uuid.UUID
	seq      int64
	value    registry.Value
}

// newWalk walks on two connections, which can be one and the same.
func newWalk(accounts, values *rawConn, recent *recent) (*walk, error) {
	waiting, err := accounts.newcomers(recent)
	if err != nil {
		return nil, err
	}
	a, err := accounts.rows("an account", selectAccounts+` ORDER BY username`)
	if err != nil {
		return nil, err
	}
	v, err := values.rows("a value", selectValues+` ORDER BY username`)
	if err != nil {
		a.close()
		return nil, err
	}
	return &walk{accounts: newRows(a, (*cursor).readAccount), values: newRows(v, (*cursor).readValue),
		counter: accounts, recent: recent, waiting: waiting, owners: recent.owners()}, nil
}

func (w *walk) close() {
	w.accounts.close()
	w.values.close()
}

// What readAccount and readValue read.
const (
	accountColumns = `username, password_hash, subdomain, allow_from, created, note, updated, authenticated`
	selectAccounts = `SELECT ` + accountColumns + ` FROM accounts`
	selectValues   = `SELECT username, value, seq, set_at FROM txt`
)

// readAccount reads a row into a, whose slices it uses again.
func (q *cursor) readAccount(a *registry.Account) {
	q.fixed(0, a.Username[:])
	a.PasswordHash = append(a.PasswordHash[:0], q.octets(1)...)
	a.Subdomain, a.Note = q.text(2), q.text(5)
	a.Created, a.Updated, a.Authenticated = time.Unix(q.integer(4), 0), timeOf(q.integer(6)), timeOf(q.integer(7))
	setAllowFrom(a, q.octets(3))
}

// setAllowFrom reads the column allow_from.
func setAllowFrom(a *registry.Account, text []byte) {
	a.AllowFrom, a.Locked = a.AllowFrom[:0], false
	if string(text) == "[]" {
		return
	}
	// NULL is locked, and so is what cannot be read: it was a restriction once.
	a.Locked = text == nil || json.Unmarshal(text, &a.AllowFrom) != nil || a.AllowFrom == nil
}

// readValue reads a row into v.
func (q *cursor) readValue(v *valueRow) {
	q.fixed(0, v.username[:])
	v.value = registry.Value{TXT: q.text(1), At: time.Unix(q.integer(3), 0)}
	v.seq = q.integer(2)
}

// run calls each for every account.
func (w *walk) run(ctx context.Context, each func(*registry.Entry) error) error {
	var entry registry.Entry
	count := 0
	for a := w.accounts.next(); a != nil; a = w.accounts.next() {
		if count++; count%rowsAhead == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.runNewcomers(&a.Username, each); err != nil {
			return err
		}
		entry.Account = *a
		var ok bool
		if entry.Values, ok = w.valuesOf(a.Username, entry.Values[:0]); !ok {
			return cmp.Or(w.values.err, errNoAccount)
		}
		if err := each(&entry); err != nil {
			return err
		}
	}
	if err := cmp.Or(w.accounts.err, w.values.err); err != nil {
		return err
	}
	if w.values.peek() != nil {
		return errNoAccount
	}
	if err := w.counter.checkCount(count); err != nil {
		return err
	}
	if err := w.runNewcomers(nil, each); err != nil {
		return err
	}
	if len(w.owners) > 0 {
		return errNoAccount
	}
	return nil
}

// runNewcomers calls each for the newcomers that come before an account, nil: the end.
// Of one that is in accounts as well, what accounts has is newer.
func (w *walk) runNewcomers(before *uuid.UUID, each func(*registry.Entry) error) error {
	for ; len(w.waiting) > 0; w.waiting = w.waiting[1:] {
		a := w.waiting[0]
		order := -1
		if before != nil {
			order = compareUUIDs(a.Username, *before)
		}
		if order > 0 {
			break
		}
		if order == 0 {
			continue
		}
		w.of = w.applyRecent(w.of[:0], a.Username)
		if err := each(&registry.Entry{Account: a, Values: appendInOrder(nil, w.of)}); err != nil {
			return err
		}
	}
	return nil
}

// newcomers reads those that exist, in the order of usernames.
func (c *rawConn) newcomers(r *recent) (list []registry.Account, err error) {
	q, err := c.rows("a newcomer", `SELECT `+accountColumns+`, seq FROM newcomers`)
	if err != nil {
		return nil, err
	}
	defer q.close()
	for q.next() {
		var a registry.Account
		q.readAccount(&a)
		if seq, exists := r.newcomers[a.Username]; exists && seq == q.integer(8) {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b registry.Account) int { return compareUUIDs(a.Username, b.Username) })
	return list, q.err
}

// errNoAccount: foreign keys keep that from being, and in recent, which has none, the
// registry.
var errNoAccount = fmt.Errorf("%w: there are values of an account that is not there", errDamaged)

// valuesOf appends the values of an account, the oldest first. Accounts are asked
// for in order. Not ok: there are values of none, or they cannot be read.
func (w *walk) valuesOf(username uuid.UUID, dst []registry.Value) (_ []registry.Value, ok bool) {
	w.of = w.of[:0]
	for v := w.values.peek(); v != nil; v = w.values.peek() {
		if order := bytes.Compare(v.username[:], username[:]); order > 0 {
			break
		} else if order < 0 {
			return dst, false
		}
		w.of = append(w.of, *w.values.next())
	}
	w.of = w.applyRecent(w.of, username)
	return appendInOrder(dst, w.of), w.values.err == nil
}

// applyRecent brings the values that an account has in txt up to date.
func (w *walk) applyRecent(list []valueRow, username uuid.UUID) []valueRow {
	delete(w.owners, username)
	return w.recent.applyTo(list, username)
}

// appendInOrder appends values in the order of arrival, into which it brings list.
func appendInOrder(dst []registry.Value, list []valueRow) []registry.Value {
	slices.SortFunc(list, func(a, b valueRow) int { return cmp.Compare(a.seq, b.seq) })
	for i := range list {
		dst = append(dst, list[i].value)
	}
	return dst
}

// checkCount compares how many accounts the walk has met with how many are in the
// index of subdomains. A page that was damaged can look like one with fewer rows.
// In txt, which has no index, it goes unnoticed, as a letter in a note does.
func (c *rawConn) checkCount(count int) error {
	q, err := c.rows("the index of subdomains", `SELECT count(*) FROM accounts INDEXED BY accounts_subdomain`)
	if err != nil {
		return err
	}
	defer q.close()
	if !q.next() {
		return q.err
	}
	if indexed := q.integer(0); q.err == nil && indexed != int64(count) {
		return fmt.Errorf("%w: there are %d accounts, and %d in the index", errDamaged, count, indexed)
	}
	return q.err
}
