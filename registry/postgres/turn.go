package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"cnamed/registry"
)

const (
	// lockTimeout bounds how long a node waits for its turn.
	lockTimeout = 4 * time.Second
	// turnTimeout is how long the server lets a turn go on without a word.
	turnTimeout = 2 * time.Second
	// maxChanges bounds the answer at the beginning of a turn, and so how long
	// it takes.
	maxChanges = 64
	// valueBits is the room for the values of one change in their order.
	valueBits = 24
)

// turn is an open transaction that has the lock.
type turn struct {
	seq, serial uint64 // as they are
}

// Begin implements registry.Shared.
func (s *Store) Begin(ctx context.Context, since uint64) (changes []registry.Change, more bool, err error) {
	ctx = context.WithoutCancel(ctx)
	t := new(turn)
	var rows []member
	err = s.writes.do(ctx, lockTimeout+callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(`BEGIN`)
		b.Queue(`SELECT seq, serial FROM zone FOR UPDATE`).QueryRow(func(row pgx.Row) error {
			return row.Scan(&t.seq, &t.serial)
		})
		// Each statement sees what was committed before it began: by now all.
		b.Queue(selectChanges, int64(since), maxChanges).Query(func(r pgx.Rows) (err error) {
			changes, err = s.scanChanges(r)
			return err
		})
		b.Queue(`SELECT id, applied, renewal FROM nodes`).Query(func(r pgx.Rows) (err error) {
			rows, err = scanMembers(r)
			return err
		})
		if err := conn.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		err := contiguous(changes, since)
		if last := since + uint64(len(changes)); err == nil && last < t.seq {
			if len(changes) < maxChanges {
				err = fmt.Errorf("%w: from %d to %d", registry.ErrGap, last+1, t.seq)
			}
			more = true
		}
		if err != nil || more {
			return refused(ctx, conn, err)
		}
		return nil
	})
	if err != nil || more {
		return changes, more, failed("beginning to write", s.gap(err))
	}
	s.turn = t
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node.see(t.seq, rows, s.now())
	return changes, false, nil
}

// contiguous returns ErrGap unless changes follow since without a gap.
func contiguous(changes []registry.Change, since uint64) error {
	for i, c := range changes {
		if want := since + uint64(i) + 1; c.Seq != want {
			return fmt.Errorf("%w: from %d to %d", registry.ErrGap, want, c.Seq-1)
		}
	}
	return nil
}

// refused rolls back and returns err as one that spared the connection.
func refused(ctx context.Context, conn *pgx.Conn, err error) error {
	if _, e := conn.Exec(ctx, `ROLLBACK`); e != nil {
		return errors.Join(err, e)
	}
	if err == nil {
		return nil
	}
	return &refusedError{err}
}

// Rollback implements registry.Shared. If it fails, the connection ends, and the
// turn with it.
func (s *Store) Rollback(ctx context.Context) {
	s.turn = nil
	_ = s.writes.do(context.WithoutCancel(ctx), callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		return refused(ctx, conn, nil)
	})
}

// Commit implements registry.Store.
func (s *Store) Commit(ctx context.Context, batch []registry.Mutation) (registry.Committed, error) {
	if s.turn == nil {
		if err := s.beginBlind(ctx); err != nil {
			return registry.Committed{}, err
		}
	}
	t := s.turn
	s.turn = nil
	c := &commit{batch: batch, seq: t.seq + 1, serial: t.serial, process: s.process, channel: s.opts.Schema}
	c.joining, c.past = s.wantsToJoin()
	c.logged = c.joining != uuid.Nil
	for _, m := range batch {
		if m.ChangesZone() {
			c.serial = t.serial + 1
		}
		if _, ok := m.(registry.Probe); !ok {
			c.logged = true
		}
	}
	if !c.logged {
		c.seq = t.seq
	}
	sent := s.now()
	err := s.writes.do(context.WithoutCancel(ctx), callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		if conn.PgConn().TxStatus() != 'T' {
			return errTurn // the connection is another one
		}
		return c.send(ctx, conn)
	})
	if err != nil {
		s.mu.Lock()
		s.node.doubt(c.joining)
		s.mu.Unlock()
		var mutation *registry.MutationError
		if errors.As(err, &mutation) {
			return registry.Committed{}, mutation
		}
		return registry.Committed{}, failed("writing", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.joining != uuid.Nil {
		s.node.joined(c.joining, sent)
	}
	s.node.committed(c.seq)
	return registry.Committed{Serial: c.serial, Seq: c.seq}, nil
}

// beginBlind takes a turn of which the caller does not want to know what came
// before.
func (s *Store) beginBlind(ctx context.Context) error {
	for {
		var newest int64
		err := s.writes.do(ctx, callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `SELECT seq FROM zone`).Scan(&newest)
		})
		if err != nil {
			return failed("beginning to write", err)
		}
		if _, more, err := s.Begin(ctx, uint64(newest)); !more {
			return err
		}
	}
}

// commit is a batch on its way into the database.
type commit struct {
	batch       []registry.Mutation
	seq, serial uint64
	logged      bool // it is a change of its own
	process     string
	channel     string

	joining uuid.UUID // as which the node becomes a member with this change
	past    []uuid.UUID
}

// send sends everything at once, the COMMIT too: the server does not get to it
// when a statement before it fails.
func (c *commit) send(ctx context.Context, conn *pgx.Conn) error {
	b := &pgx.Batch{}
	for i, m := range c.batch {
		if err := queue(b, m, c.seq<<valueBits+uint64(i)); err != nil {
			return refused(ctx, conn, err)
		}
	}
	if c.logged {
		text, err := encodeBatch(c.batch)
		if err != nil {
			return refused(ctx, conn, err)
		}
		b.Queue(`INSERT INTO changes (seq, serial, process, batch) VALUES ($1, $2, $3, $4)`,
			int64(c.seq), int64(c.serial), c.process, text)
		b.Queue(`UPDATE zone SET seq = $1, serial = $2`, int64(c.seq), int64(c.serial))
		b.Queue(`SELECT pg_notify($1, $2)`, c.channel, changeNotice(c.seq, c.process))
	}
	if c.joining != uuid.Nil {
		for _, past := range c.past {
			b.Queue(`DELETE FROM nodes WHERE id = $1`, id(past))
		}
		b.Queue(`INSERT INTO nodes VALUES ($1, $2, $3, 0)`, id(c.joining), c.process, int64(c.seq))
	}
	b.Queue(`COMMIT`)
	results := conn.SendBatch(ctx, b)
	for i := range b.Len() {
		if _, err := results.Exec(); err != nil {
			_ = results.Close()
			if i < len(c.batch) && code(err) != "" && !conn.IsClosed() {
				return refused(ctx, conn, refusal(i, err))
			}
			return err
		}
	}
	return results.Close()
}

// wantsToJoin returns a new id if the node is to be a member and is none, and
// those that it had. One that cannot follow is not to be.
func (s *Store) wantsToJoin() (joining uuid.UUID, past []uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.following || s.node.id != uuid.Nil || s.node.lost(s.now()) {
		return uuid.Nil, nil
	}
	return uuid.New(), s.node.past
}
