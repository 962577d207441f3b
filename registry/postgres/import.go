package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"cnamed/registry"
)

// importChunk is how many entries are compared with what is stored, and then
// copied, at once.
const importChunk = 2000

// Import implements registry.Store. It has the turn from the beginning to the
// end: nodes that run meanwhile take no updates, and load everything anew at its
// end, since it leaves a gap in the changes.
func (s *Store) Import(ctx context.Context, what registry.Import) (committed registry.Committed, err error) {
	if s.writes.isClosed() {
		return registry.Committed{}, errClosed
	}
	err = s.with(ctx, func(conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
			committed, err = s.importIn(ctx, tx, &what)
			return err
		})
	})
	if err != nil {
		return registry.Committed{}, failed("importing", err)
	}
	return committed, nil
}

func (s *Store) importIn(ctx context.Context, tx pgx.Tx, what *registry.Import) (c registry.Committed, err error) {
	var seq, serial int64
	if err := tx.QueryRow(ctx, `SELECT seq, serial FROM zone FOR UPDATE`).Scan(&seq, &serial); err != nil {
		return c, err
	}
	i := importer{tx: tx, what: what, next: uint64(seq+1) << valueBits}
	if what.Entries != nil {
		for entry, err := range what.Entries {
			if err == nil {
				err = i.add(ctx, entry)
			}
			if err != nil {
				return c, err
			}
		}
	}
	err = i.flush(ctx)
	if err == nil {
		err = i.addTokens(ctx)
	}
	if err == nil {
		err = i.retire(ctx)
	}
	next := int64(what.NextSerial(uint64(serial), i.added))
	if err != nil || next == serial && !i.changed {
		return registry.Committed{Seq: uint64(seq), Serial: uint64(serial)}, err
	}
	// What the values have taken up of the order of arrival is not given again.
	seq, serial = int64(i.next>>valueBits), next
	if _, err := tx.Exec(ctx, `UPDATE zone SET seq = $1, serial = $2`, seq, serial); err != nil {
		return c, err
	}
	_, err = tx.Exec(ctx, `SELECT pg_notify($1, $2)`, s.opts.Schema, changeNotice(uint64(seq), ""))
	return registry.Committed{Seq: uint64(seq), Serial: uint64(serial)}, err
}

// importer is an import under way, in an open transaction.
type importer struct {
	tx      pgx.Tx
	what    *registry.Import
	next    uint64 // in the order of arrival
	added   bool   // an account
	changed bool   // anything

	chunk []*registry.Entry
}

// addTokens adds the tokens that are not there.
func (i *importer) addTokens(ctx context.Context) error {
	for _, t := range i.what.Tokens {
		tag, err := i.tx.Exec(ctx, `INSERT INTO tokens VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
			tokenRow(&t)...)
		switch {
		case err != nil:
			return err
		case tag.RowsAffected() > 0:
			i.changed = true
		case i.what.TokenTaken != nil:
			i.what.TokenTaken(t)
		}
	}
	return nil
}

func (i *importer) retire(ctx context.Context) error {
	for _, name := range i.what.Retired {
		tag, err := i.tx.Exec(ctx, `INSERT INTO retired VALUES ($1) ON CONFLICT DO NOTHING`, name)
		if err != nil {
			return err
		}
		i.changed = i.changed || tag.RowsAffected() > 0
	}
	return nil
}

// add takes a copy of an entry, whose memory is the caller's.
func (i *importer) add(ctx context.Context, entry *registry.Entry) error {
	if !utf8.ValidString(entry.Subdomain) || strings.ContainsRune(entry.Subdomain, 0) {
		return &hintedError{fmt.Errorf("PostgreSQL cannot store the subdomain %q of %s", entry.Subdomain, entry.Username),
			"nobody can update such an account: delete it where it comes from"}
	}
	e := *entry
	e.PasswordHash, e.AllowFrom, e.Values = slices.Clone(e.PasswordHash), slices.Clone(e.AllowFrom), slices.Clone(e.Values)
	if i.chunk = append(i.chunk, &e); len(i.chunk) < importChunk {
		return nil
	}
	return i.flush(ctx)
}

// flush stores the entries of the chunk that can be, in their order.
func (i *importer) flush(ctx context.Context) error {
	known, err := i.find(ctx)
	if err != nil {
		return err
	}
	var accounts, values [][]any
	for _, e := range i.chunk {
		name := lowerASCII(e.Subdomain)
		stored, there := known.byUsername[e.Username], true
		if stored == nil {
			stored, there = known.byName[name]
		}
		if there {
			if err := i.what.Taken(e, stored); err != nil {
				return err
			}
			continue
		}
		known.byUsername[e.Username], known.byName[name] = e, e
		accounts = append(accounts, []any{id(e.Username), e.PasswordHash, e.Subdomain, allowFrom(&e.Account),
			seconds(e.Created), e.Note, seconds(e.Updated), seconds(e.Authenticated)})
		for _, v := range e.Values {
			values = append(values, []any{id(e.Username), v.TXT, int64(i.next), seconds(v.At)})
			i.next++
		}
	}
	i.chunk = i.chunk[:0]
	if len(accounts) == 0 {
		return nil
	}
	if i.next&(1<<valueBits-1) == 0 {
		i.next++ // so that an import without values has a number, too
	}
	i.added, i.changed = true, true
	_, err = i.tx.CopyFrom(ctx, pgx.Identifier{"accounts"}, []string{"username", "password_hash", "subdomain",
		"allow_from", "created", "note", "updated", "authenticated"}, pgx.CopyFromRows(accounts))
	if err == nil {
		_, err = i.tx.CopyFrom(ctx, pgx.Identifier{"txt"}, []string{"username", "value", "seq", "set_at"}, pgx.CopyFromRows(values))
	}
	return err
}

// found is what stands in the way of a chunk. A name that is retired has nil.
type found struct {
	byUsername map[uuid.UUID]*registry.Entry
	byName     map[string]*registry.Entry
}

func (i *importer) find(ctx context.Context) (found, error) {
	f := found{map[uuid.UUID]*registry.Entry{}, map[string]*registry.Entry{}}
	usernames, names := make([]uuid.UUID, 0, len(i.chunk)), make([]string, 0, len(i.chunk))
	for _, e := range i.chunk {
		usernames, names = append(usernames, e.Username), append(names, lowerASCII(e.Subdomain))
	}
	retired, err := i.tx.Query(ctx, `SELECT lower(name COLLATE "C") FROM retired WHERE lower(name COLLATE "C") = ANY($1)`, names)
	if err != nil {
		return f, err
	}
	list, err := pgx.CollectRows(retired, pgx.RowTo[string])
	if err != nil {
		return f, err
	}
	for _, name := range list {
		f.byName[name] = nil
	}
	rows, err := i.tx.Query(ctx, `SELECT username, password_hash, subdomain, allow_from, created, note, updated, authenticated
		FROM accounts WHERE username = ANY($1) OR lower(subdomain COLLATE "C") = ANY($2)`,
		pgx.QueryResultFormats{pgx.BinaryFormatCode}, usernames, names)
	if err != nil {
		return f, err
	}
	defer rows.Close()
	var there []uuid.UUID
	for rows.Next() {
		e := new(registry.Entry)
		if err := readAccount(rows, &e.Account); err != nil {
			return f, err
		}
		f.byUsername[e.Username], f.byName[lowerASCII(e.Subdomain)] = e, e
		there = append(there, e.Username)
	}
	if err := rows.Err(); err != nil || len(there) == 0 {
		return f, err
	}
	return f, i.findValues(ctx, f, there)
}

func (i *importer) findValues(ctx context.Context, f found, of []uuid.UUID) error {
	values := &valueCursor{}
	var err error
	values.rows, err = i.tx.Query(ctx, `SELECT username, value, set_at FROM txt WHERE username = ANY($1) ORDER BY seq`,
		pgx.QueryResultFormats{pgx.BinaryFormatCode}, of)
	if err != nil {
		return err
	}
	defer values.rows.Close()
	for {
		if err := values.next(); err != nil || values.done {
			return err
		}
		e := f.byUsername[values.username]
		if e == nil {
			return fmt.Errorf("%w: a value of no account", errDamaged)
		}
		e.Values = append(e.Values, values.value)
	}
}

// lowerASCII lowers the letters that DNS compares without regard to case.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
