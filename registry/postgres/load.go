package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"cnamed/registry"
)

// Load implements registry.Store. It does not lead past a change that this
// version does not know.
func (s *Store) Load(ctx context.Context, each func(*registry.Entry) error) (state registry.State, err error) {
	if err := s.gap(registry.ErrGap); !errors.Is(err, registry.ErrGap) {
		return registry.State{}, failed("reading", err)
	}
	err = s.Export(ctx, func(all registry.State) error {
		state = all
		return nil
	}, each)
	if err != nil {
		return registry.State{}, err
	}
	return state, nil
}

// Export implements registry.Exporter. It walks accounts and values side by side,
// on two connections that see one snapshot, and decodes rows as they come.
func (s *Store) Export(ctx context.Context, begin func(registry.State) error, each func(*registry.Entry) error) error {
	if s.writes.isClosed() {
		return errClosed
	}
	var stop error
	err := s.with(ctx, func(accounts *pgx.Conn) error {
		return s.with(ctx, func(values *pgx.Conn) error {
			if err := shareSnapshot(ctx, accounts, values); err != nil {
				return err
			}
			state, err := loadState(ctx, accounts)
			if err != nil {
				return err
			}
			if stop = begin(state); stop != nil {
				return stop
			}
			return loadAccounts(ctx, accounts, values, func(e *registry.Entry) error {
				stop = each(e)
				return stop
			})
		})
	})
	if stop != nil {
		return stop
	}
	if err != nil {
		return failed("reading", err)
	}
	return nil
}

// shareSnapshot begins a transaction on both connections, of one snapshot.
func shareSnapshot(ctx context.Context, first, second *pgx.Conn) error {
	const begin = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`
	for _, conn := range []*pgx.Conn{first, second} {
		if _, err := conn.Exec(ctx, begin); err != nil {
			return err
		}
	}
	var snapshot string
	if err := first.QueryRow(ctx, `SELECT pg_export_snapshot()`).Scan(&snapshot); err != nil {
		return err
	}
	// SET takes no parameters. The name is the server's own.
	_, err := second.Exec(ctx, fmt.Sprintf(`SET TRANSACTION SNAPSHOT '%s'`, snapshot))
	// A million rows are then sorted in one pass over the disk.
	for _, conn := range []*pgx.Conn{first, second} {
		if err == nil {
			_, err = conn.Exec(ctx, `SET LOCAL work_mem = '64MB'`)
		}
	}
	return err
}

func loadState(ctx context.Context, conn *pgx.Conn) (state registry.State, err error) {
	err = conn.QueryRow(ctx, `SELECT seq, serial, challenges, records FROM zone`).
		Scan(&state.Seq, &state.Serial, &state.Challenges, &state.Records)
	if err != nil {
		return state, err
	}
	rows, err := conn.Query(ctx, `SELECT name FROM retired`)
	if err == nil {
		state.Retired, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return state, err
	}
	rows, err = conn.Query(ctx, `SELECT id, hash, note, created, expires, max_uses, uses, used FROM tokens`)
	if err == nil {
		state.Tokens, err = pgx.CollectRows(rows, scanToken)
	}
	return state, err
}

func scanToken(row pgx.CollectableRow) (t registry.Token, err error) {
	var hash []byte
	var created int64
	var expires, maxUses, used sql.NullInt64
	if err := row.Scan(&t.ID, &hash, &t.Note, &created, &expires, &maxUses, &t.Uses, &used); err != nil {
		return t, err
	}
	copy(t.Hash[:], hash)
	t.Created, t.MaxUses = time.Unix(created, 0), int(maxUses.Int64)
	if expires.Valid {
		t.Expires = time.Unix(expires.Int64, 0)
	}
	if used.Valid {
		t.LastUsed = time.Unix(used.Int64, 0)
	}
	return t, nil
}

func loadAccounts(ctx context.Context, conn, other *pgx.Conn, each func(*registry.Entry) error) error {
	binaryFormat := pgx.QueryResultFormats{pgx.BinaryFormatCode}
	accounts, err := conn.Query(ctx, `
		SELECT username, password_hash, subdomain, allow_from, created, note, updated, authenticated
		FROM accounts ORDER BY username`, binaryFormat)
	if err != nil {
		return err
	}
	defer accounts.Close()
	values := &valueCursor{}
	values.rows, err = other.Query(ctx, `SELECT username, value, set_at FROM txt ORDER BY username, seq`, binaryFormat)
	if err != nil {
		return err
	}
	defer values.rows.Close()
	if err := values.next(); err != nil {
		return err
	}
	var entry registry.Entry
	for accounts.Next() {
		if err := readAccount(accounts, &entry.Account); err != nil {
			return err
		}
		if entry.Values, err = values.of(entry.Username, entry.Values[:0]); err != nil {
			return err
		}
		if err := each(&entry); err != nil {
			return err
		}
	}
	return accounts.Err()
}

// readAccount decodes a row into a, whose slices it uses again.
func readAccount(rows pgx.Rows, a *registry.Account) error {
	raw := rows.RawValues()
	if len(raw) != 8 || len(raw[0]) != 16 || len(raw[4]) != 8 || len(raw[6]) != 8 || len(raw[7]) != 8 {
		return fmt.Errorf("%w: a row of an account", errDamaged)
	}
	copy(a.Username[:], raw[0])
	a.PasswordHash = append(a.PasswordHash[:0], raw[1]...)
	a.Subdomain, a.Note = string(raw[2]), string(raw[5])
	a.Created, a.Updated, a.Authenticated = time.Unix(int64At(raw[4]), 0), timeOf(int64At(raw[6])), timeOf(int64At(raw[7]))
	a.AllowFrom, a.Locked = a.AllowFrom[:0], raw[3] == nil
	if !a.Locked && !isEmptyArray(raw[3]) {
		return rows.TypeMap().Scan(pgtype.TextArrayOID, pgx.BinaryFormatCode, raw[3], &a.AllowFrom)
	}
	return nil
}

func int64At(raw []byte) int64 { return int64(binary.BigEndian.Uint64(raw)) }

// isEmptyArray reads the number of dimensions.
func isEmptyArray(raw []byte) bool { return len(raw) >= 4 && binary.BigEndian.Uint32(raw) == 0 }

// valueCursor walks the values, in the order of accounts and of arrival.
type valueCursor struct {
	rows     pgx.Rows
	done     bool
	username uuid.UUID // of the current row, and the value
	value    registry.Value
}

func (c *valueCursor) next() error {
	if !c.rows.Next() {
		c.done = true
		return c.rows.Err()
	}
	raw := c.rows.RawValues()
	if len(raw) != 3 || len(raw[0]) != 16 || len(raw[2]) != 8 {
		return fmt.Errorf("%w: a row of a value", errDamaged)
	}
	copy(c.username[:], raw[0])
	c.value = registry.Value{TXT: string(raw[1]), At: time.Unix(int64At(raw[2]), 0)}
	return nil
}

// of appends the values of an account, the oldest first. Accounts are asked for
// in order.
func (c *valueCursor) of(username uuid.UUID, dst []registry.Value) ([]registry.Value, error) {
	for !c.done && bytes.Compare(c.username[:], username[:]) <= 0 {
		if c.username == username {
			dst = append(dst, c.value)
		}
		if err := c.next(); err != nil {
			return dst, err
		}
	}
	return dst, nil
}
