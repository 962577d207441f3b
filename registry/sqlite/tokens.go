package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"cnamed/registry"
)

// applyToken does the mutations of registration tokens.
func (d *database) applyToken(ctx context.Context, m registry.Mutation) error {
	var err error
	switch m := m.(type) {
	case registry.CreateToken:
		_, err = d.createToken.ExecContext(ctx, m.ID, m.Hash[:], m.Note, m.Created.Unix(),
			secondsOrNull(m.Expires), sql.NullInt64{Int64: int64(m.MaxUses), Valid: m.MaxUses > 0},
			m.Uses, secondsOrNull(m.LastUsed))
	case registry.RevokeToken:
		_, err = d.revokeToken.ExecContext(ctx, m.ID)
	case registry.UseToken:
		var result sql.Result
		if result, err = d.useToken.ExecContext(ctx, m.At.Unix(), m.ID); err != nil {
			return err
		}
		var n int64
		if n, err = result.RowsAffected(); err == nil && n == 0 {
			err = registry.ErrNotFound
		}
	}
	return err
}

func secondsOrNull(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.Unix(), Valid: !t.IsZero()}
}

// tokens reads all registration tokens.
func (d *database) tokens(ctx context.Context) (list []registry.Token, err error) {
	rows, err := d.conn.QueryContext(ctx, `
		SELECT id, hash, note, created, expires, max_uses, uses, used FROM tokens`)
	if err != nil {
		return nil, err
	}
	defer closeRows(rows, &err)
	for rows.Next() {
		var t registry.Token
		var hash []byte
		var created int64
		var expires, maxUses, used sql.NullInt64
		if err := rows.Scan(&t.ID, &hash, &t.Note, &created, &expires, &maxUses, &t.Uses, &used); err != nil {
			return nil, unreadable("a token", err)
		}
		if len(hash) != len(t.Hash) {
			return nil, fmt.Errorf("%w: a token with a hash of %d octets", errDamaged, len(hash))
		}
		copy(t.Hash[:], hash)
		t.Created, t.MaxUses = time.Unix(created, 0), int(maxUses.Int64)
		if expires.Valid {
			t.Expires = time.Unix(expires.Int64, 0)
		}
		if used.Valid {
			t.LastUsed = time.Unix(used.Int64, 0)
		}
		list = append(list, t)
	}
	return list, rows.Err()
}
