package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"cnamed/registry"
)

// lifeStmts change accounts after they were made.
type lifeStmts struct {
	deleteAccount           *sql.Stmt // and its values, by the foreign key
	setAllowFrom, setNote   *sql.Stmt
	markUsed                *sql.Stmt
	retireName, releaseName *sql.Stmt
}

func (d *database) applyLife(ctx context.Context, m registry.Mutation) (err error) {
	switch m := m.(type) {
	case registry.DeleteAccount:
		_, err = d.life.deleteAccount.ExecContext(ctx, m.Username[:])
	case registry.SetAllowFrom:
		var text string
		if text, err = encodeList(m.AllowFrom); err == nil {
			_, err = d.life.setAllowFrom.ExecContext(ctx, text, m.Username[:])
		}
	case registry.SetNote:
		_, err = d.life.setNote.ExecContext(ctx, m.Note, m.Username[:])
	case registry.MarkUsed:
		_, err = d.life.markUsed.ExecContext(ctx, seconds(m.Updated), seconds(m.Authenticated), m.Username[:])
	case registry.RetireName:
		_, err = d.life.retireName.ExecContext(ctx, m.Name)
	case registry.ReleaseName:
		_, err = d.life.releaseName.ExecContext(ctx, m.Name)
	default:
		err = fmt.Errorf("a mutation of unknown type %T", m)
	}
	return err
}

// retired returns the names that are not given again.
func (c *rawConn) retired() (names []string, err error) {
	q, err := c.rows("a retired name", `SELECT name FROM retired`)
	if err != nil {
		return nil, err
	}
	defer q.close()
	for q.next() {
		names = append(names, q.text(0))
	}
	return names, q.err
}

// seconds is t as columns keep a time that may never have been: 0 then.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// timeOf is the opposite of seconds.
func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
