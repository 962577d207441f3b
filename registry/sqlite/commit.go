package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"cnamed/registry"
)

// Commit implements registry.Store.
//
// That the files are still in their place is checked before, so that nothing
// is written to a file that lost its name, and once more before the
// acknowledgement: a batch that was committed to a file that vanished
// meanwhile is in doubt.
func (s *Store) Commit(ctx context.Context, batch []registry.Mutation) (registry.Committed, error) {
	return s.transact(ctx, func(ctx context.Context) (registry.Committed, error) { return s.db.write(ctx, batch) })
}

// transact commits what write does, or nothing.
func (s *Store) transact(ctx context.Context, write func(context.Context) (registry.Committed, error)) (registry.Committed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return registry.Committed{}, errClosed
	}
	if s.doubt {
		return registry.Committed{}, fmt.Errorf("%w: a commit is in doubt until recovery", registry.ErrStore)
	}
	if err := s.db.files.check(); err != nil {
		return registry.Committed{}, failed("writing", err)
	}
	// A context that ends in the middle would only interrupt what others wait
	// for as well.
	ctx = context.WithoutCancel(ctx)
	s.db.forget()
	failures := s.db.checkpoints.failures.Load()
	if _, err := s.db.begin.ExecContext(ctx); err != nil {
		return registry.Committed{}, failed("writing", err)
	}
	finished := false
	defer func() {
		if !finished { // a panic
			s.doubt = true
			_, _ = s.db.rollback.ExecContext(ctx)
		}
	}()
	committed, err := write(ctx)
	if err == nil && s.db.checkpoints.failures.Load() != failures {
		err = errMovedMeanwhile
	}
	if err != nil {
		finished = true
		return registry.Committed{}, s.undo(ctx, err)
	}
	_, err = s.db.commit.ExecContext(ctx)
	finished = true
	if err != nil {
		// When the flush failed, what had been written to the log may come to
		// life in a later recovery of the file.
		s.doubt = code(err) != lib.SQLITE_FULL
		return registry.Committed{}, s.undo(ctx, err)
	}
	s.committing()
	if err := s.db.files.check(); err != nil {
		s.doubt = true
		return registry.Committed{}, failed("committing", err)
	}
	s.db.keepUp()
	s.db.committed(ctx)
	return committed, nil
}

// errMovedMeanwhile: a transaction that began before a checkpoint failed may have read
// pages that the system has forgotten since.
var errMovedMeanwhile = errors.New("the disk failed meanwhile to take what was moved into the database")

// undo ends a transaction that failed with cause.
func (s *Store) undo(ctx context.Context, cause error) error {
	// Some errors have rolled back already, and then this one fails. If it
	// fails for another reason, so does the next BEGIN, until Recover reopens.
	if _, err := s.db.rollback.ExecContext(ctx); err != nil && code(err) != lib.SQLITE_ERROR {
		s.doubt = true
	}
	if refused, ok := cause.(*registry.MutationError); ok {
		return refused
	}
	return failed("writing", cause)
}

// write does the mutations in the open transaction.
func (d *database) write(ctx context.Context, batch []registry.Mutation) (registry.Committed, error) {
	var rows, step int64
	quiet := true // it only probes the store
	for _, m := range batch {
		if _, ok := rowOf(m); ok {
			rows++
		}
		if m.ChangesZone() {
			step = 1
		}
		_, probe := m.(registry.Probe)
		quiet = quiet && probe
	}
	if err := d.settle(ctx, int(rows), quiet); err != nil {
		return registry.Committed{}, err
	}
	seq, serial, err := d.advanceBy(ctx, rows, step, rows-int64(d.settled.gone))
	if err != nil {
		return registry.Committed{}, err
	}
	seq -= rows
	for i, m := range batch {
		if row, ok := rowOf(m); ok {
			seq++
			row.seq = seq
			if err := d.arrive(ctx, row, m); err != nil {
				return registry.Committed{}, err
			}
		}
		if err := d.apply(ctx, m); err != nil {
			return registry.Committed{}, refusal(i, err)
		}
	}
	return registry.Committed{Serial: serial}, nil
}

// advanceBy makes room for rows in their order, raises the serial, and changes the
// number of rows that wait. It returns the place of the last row, and the serial.
func (d *database) advanceBy(ctx context.Context, rows, step, waiting int64) (seq int64, serial uint64, err error) {
	err = d.advance.QueryRowContext(ctx, rows, step, waiting).Scan(&seq, &serial)
	return seq, serial, err
}

// apply does what a mutation changes beside the row that it leaves.
func (d *database) apply(ctx context.Context, m registry.Mutation) error {
	var err error
	switch m := m.(type) {
	case registry.CreateAccount, registry.PutValue, registry.DropValue:
	case registry.DeleteAccount, registry.ReplacePassword, registry.SetAllowFrom, registry.SetNote, registry.MarkUsed,
		registry.RetireName, registry.ReleaseName:
		err = d.applyLife(ctx, m)
	case registry.SetChallenges:
		var text string
		if text, err = encodeList(m.Values); err != nil {
			return err
		}
		_, err = d.challenges.ExecContext(ctx, text)
	case registry.SetRecords:
		_, err = d.records.ExecContext(ctx, m.Fingerprint)
	case registry.CreateToken, registry.RevokeToken, registry.UseToken:
		err = d.applyToken(ctx, m)
	case registry.Probe:
		_, err = d.probe.ExecContext(ctx, m.At.Unix())
	default:
		err = fmt.Errorf("a mutation of unknown type %T", m)
	}
	return err
}

// refusal turns a constraint that one mutation violates into an error about
// that mutation.
func refusal(i int, err error) error {
	if errors.Is(err, registry.ErrNotFound) {
		return &registry.MutationError{Index: i, Err: registry.ErrNotFound}
	}
	var refused *driver.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Code() {
	case lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_UNIQUE:
		return &registry.MutationError{Index: i, Err: registry.ErrExists}
	case lib.SQLITE_CONSTRAINT_FOREIGNKEY:
		return &registry.MutationError{Index: i, Err: registry.ErrNotFound}
	default:
		return err
	}
}

// insertAccount runs a statement that takes the columns of an account, and more.
func insertAccount(ctx context.Context, stmt *sql.Stmt, a *registry.Account, more ...any) error {
	allowFrom, err := encodeAllowFrom(a)
	if err != nil {
		return err
	}
	columns := []any{a.Username[:], a.PasswordHash, a.Subdomain, allowFrom, a.Created.Unix(), a.Note,
		seconds(a.Updated), seconds(a.Authenticated)}
	_, err = stmt.ExecContext(ctx, append(columns, more...)...)
	return err
}

// encodeAllowFrom returns the column allow_from: NULL for a locked account.
func encodeAllowFrom(a *registry.Account) (any, error) {
	if a.Locked {
		return nil, nil
	}
	return encodeList(a.AllowFrom)
}

func encodeList(list []string) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	text, err := json.Marshal(list)
	return string(text), err
}
