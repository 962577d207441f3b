package sqlite

import (
	"context"
	"database/sql"
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
func (c *rawConn) tokens() (list []registry.Token, err error) {
	q, err := c.rows("a token", `SELECT id, hash, note, created, expires, max_uses, uses, used FROM tokens`)
	if err != nil {
		return nil, err
	}
	defer q.close()
	for q.next() {
		t := registry.Token{ID: q.text(0), Note: q.text(2), Created: time.Unix(q.integer(3), 0), Uses: q.count(6)}
		q.fixed(1, t.Hash[:])
		t.Expires, t.LastUsed = q.timeOrNull(4), q.timeOrNull(7)
		if _, ok := q.integerOrNull(5); ok {
			t.MaxUses = q.count(5)
		}
		list = append(list, t)
	}
	return list, q.err
}

// timeOrNull is the opposite of secondsOrNull.
func (q *cursor) timeOrNull(column int32) time.Time {
	if seconds, ok := q.integerOrNull(column); ok {
		return time.Unix(seconds, 0)
	}
	return time.Time{}
}
