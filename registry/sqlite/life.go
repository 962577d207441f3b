package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

// lifeStmts change accounts after they were made.
type lifeStmts struct {
	deleteAccount           *sql.Stmt // and its values, by the foreign key
	setPassword             *sql.Stmt
	setAllowFrom, setNote   *sql.Stmt
	markUsed                *sql.Stmt
	retireName, releaseName *sql.Stmt
}

func (d *database) applyLife(ctx context.Context, m registry.Mutation) (err error) {
	switch m := m.(type) {
	case registry.DeleteAccount:
		_, err = d.life.deleteAccount.ExecContext(ctx, m.Username[:])
	case registry.ReplacePassword:
		err = d.changeAccount(ctx, d.life.setPassword, m.Username, m.PasswordHash)
	case registry.SetAllowFrom:
		var text string
		if text, err = encodeList(m.AllowFrom); err == nil {
			err = d.changeAccount(ctx, d.life.setAllowFrom, m.Username, text)
		}
	case registry.SetNote:
		err = d.changeAccount(ctx, d.life.setNote, m.Username, m.Note)
	case registry.MarkUsed:
		err = d.changeAccount(ctx, d.life.markUsed, m.Username, seconds(m.Updated), seconds(m.Authenticated))
	case registry.RetireName:
		_, err = d.life.retireName.ExecContext(ctx, m.Name)
	case registry.ReleaseName:
		_, err = d.life.releaseName.ExecContext(ctx, m.Name)
	default:
		err = fmt.Errorf("a mutation of unknown type %T", m)
	}
	return err
}

// changeAccount runs a statement that takes values and the username of an account, if
// there is such an account.
func (d *database) changeAccount(ctx context.Context, stmt *sql.Stmt, username uuid.UUID, values ...any) error {
	err := d.settleFirst(ctx, username)
	if err == nil {
		_, err = stmt.ExecContext(ctx, append(values, username[:])...)
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
