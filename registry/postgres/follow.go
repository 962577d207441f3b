package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"cnamed/registry"
)

const (
	selectChanges = `SELECT seq, serial, process, batch FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2`

	// lookForChanges is how long a change can go unnoticed whose notification was
	// lost.
	lookForChanges = time.Second
	// pruneEvery and keepChanges: a node that was away for longer loads anew.
	pruneEvery  = time.Minute
	keepChanges = "10 minutes"
)

// Follow implements registry.Shared. Two goroutines do it: one keeps the node a
// member, the other brings changes. Each has a connection of its own, so that a
// long row of changes costs no membership.
func (s *Store) Follow(ctx context.Context, f registry.Follower) {
	s.mu.Lock()
	s.following = true
	s.mu.Unlock()
	var group sync.WaitGroup
	group.Go(func() { s.keep(ctx, f) })
	group.Go(func() { s.bring(ctx, f) })
	group.Wait()
}

// keep joins and renews until ctx ends, and then leaves.
func (s *Store) keep(ctx context.Context, f registry.Follower) {
	renew, prune := time.NewTicker(renewEvery), time.NewTicker(pruneEvery)
	defer renew.Stop()
	defer prune.Stop()
	down := false
	for {
		err := s.renew(ctx, f)
		if ctx.Err() != nil {
			break
		}
		if down != (err != nil) {
			if down = err != nil; down {
				s.log.Warn("this node cannot confirm that it is alive", "err", err)
			} else {
				s.log.Info("this node is one of the name servers again")
			}
		}
		select {
		case <-ctx.Done():
		case <-renew.C:
		case <-prune.C:
			s.prune(ctx)
		}
	}
	s.mu.Lock()
	s.following = false
	left := s.node.leave()
	s.mu.Unlock()
	if left != uuid.Nil {
		_ = s.polls.do(context.WithoutCancel(ctx), time.Second, func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `DELETE FROM nodes WHERE id = $1`, id(left))
			return err
		})
	}
}

// renew makes the node a member, or keeps it one.
func (s *Store) renew(ctx context.Context, f registry.Follower) error {
	s.mu.Lock()
	member := s.node.id
	s.mu.Unlock()
	if member == uuid.Nil {
		return f.Touch(ctx)
	}
	s.polling.Lock()
	err := s.poll(ctx, member)
	s.polling.Unlock()
	if errors.Is(err, errAway) {
		s.log.Warn("this node was away for too long, and answers when it has caught up")
		err = f.Touch(ctx)
	}
	return err
}

// poll renews the membership of renewing, unless that is Nil, and sees the rows
// of all. Members whose leases are over are removed. Who calls it holds polling.
func (s *Store) poll(ctx context.Context, renewing uuid.UUID) error {
	b := &pgx.Batch{}
	isMember, sent := true, s.now()
	if renewing != uuid.Nil {
		b.Queue(`UPDATE nodes SET renewal = renewal + 1 WHERE id = $1`, id(renewing)).Exec(func(tag pgconn.CommandTag) error {
			isMember = tag.RowsAffected() == 1
			return nil
		})
	}
	var newest int64
	var rows []member
	// One statement: the rows and the newest change are of one moment.
	b.Queue(`SELECT n.id, n.applied, n.renewal, z.seq FROM zone z LEFT JOIN nodes n ON true`).Query(func(r pgx.Rows) (err error) {
		rows, err = scanMembers(r, &newest)
		return err
	})
	err := s.polls.do(ctx, callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return failed("renewing", err)
	}
	s.mu.Lock()
	s.polled = s.now()
	switch {
	case renewing == uuid.Nil:
	case isMember:
		s.node.renewed(renewing, sent)
	case renewing == s.node.id:
		s.node.leave()
	}
	s.node.see(uint64(newest), rows, s.polled)
	overdue := s.node.overdue(s.polled)
	s.mu.Unlock()
	err = s.evict(ctx, overdue)
	if !isMember {
		return errAway
	}
	return err
}

// evict removes members, each while its row is as it was for so long, and ends
// their connections: one could hold the turn.
func (s *Store) evict(ctx context.Context, overdue []member) error {
	for _, m := range overdue {
		var process string
		err := s.polls.do(ctx, callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
			err := conn.QueryRow(ctx, `DELETE FROM nodes WHERE id = $1 AND renewal = $2 RETURNING process`,
				id(m.id), int64(m.renewal)).Scan(&process)
			if errors.Is(err, pgx.ErrNoRows) {
				return &refusedError{err}
			}
			if err != nil {
				return err
			}
			_, err = conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1
				AND datname = current_database()`, process)
			return err
		})
		switch {
		case errors.Is(err, pgx.ErrNoRows): // it lives, or somebody else was faster
			continue
		case err != nil:
			return failed("removing a node", err)
		}
		s.log.Warn("a node is silent and not waited for any more", "node", process, "for", time.Duration(evictAfter))
		s.mu.Lock()
		s.node.gone(m.id)
		s.mu.Unlock()
	}
	return nil
}

// prune removes changes that nobody will ask for.
func (s *Store) prune(ctx context.Context) {
	err := s.polls.do(ctx, callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `DELETE FROM changes WHERE made < now() - $1::interval
			AND seq < coalesce((SELECT min(applied) FROM nodes), 0)`, keepChanges)
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.Debug("old changes were not removed", "err", err)
	}
}

// bring applies changes as they come and confirms them, until ctx ends.
func (s *Store) bring(ctx context.Context, f registry.Follower) {
	listens := session{config: s.config, setup: unflushed + `; LISTEN ` + pgx.Identifier{s.opts.Schema}.Sanitize()}
	defer listens.close()
	for ctx.Err() == nil {
		b := bringer{Store: s, follower: f}
		err := listens.do(ctx, forever, b.run)
		if errors.Is(err, registry.ErrGap) {
			err = f.Touch(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Debug("following the other nodes", "err", err)
			timer := time.NewTimer(firstPause)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

const forever = 365 * 24 * time.Hour

// bringer follows on one connection.
type bringer struct {
	*Store
	follower registry.Follower

	as        uuid.UUID // who has confirmed
	confirmed uint64
	owed      uint64 // somebody may wait for the confirmation of this change
}

func (b *bringer) run(ctx context.Context, conn *pgx.Conn) error {
	for {
		if err := b.catchUp(ctx, conn); err != nil {
			return err
		}
		if err := b.listen(ctx, conn); err != nil {
			return err
		}
	}
}

// catchUp applies what there is, and confirms it.
func (b *bringer) catchUp(ctx context.Context, conn *pgx.Conn) error {
	for {
		since := b.follower.Applied()
		call, cancel := context.WithTimeout(ctx, callTimeout)
		rows, err := conn.Query(call, selectChanges, int64(since), maxChanges)
		var changes []registry.Change
		if err == nil {
			changes, err = b.scanChanges(rows)
		}
		cancel()
		if err == nil && len(changes) > 0 {
			b.owed = changes[len(changes)-1].Seq
			err = b.follower.Apply(changes)
		}
		if err == nil {
			err = b.confirm(ctx, conn)
		}
		if err == nil && len(changes) == 0 && b.owed > b.follower.Applied() {
			err = fmt.Errorf("%w: %d is not there", registry.ErrGap, b.owed)
		}
		if err != nil || len(changes) == 0 {
			return err
		}
	}
}

// confirm tells the others what is applied, if they may be waiting for it.
func (b *bringer) confirm(ctx context.Context, conn *pgx.Conn) error {
	// First what is applied: an id that is newer has applied at least as much.
	applied := b.follower.Applied()
	b.mu.Lock()
	as := b.node.id
	b.mu.Unlock()
	if as != b.as {
		b.as, b.confirmed = as, 0
	}
	if as == uuid.Nil || b.confirmed >= b.owed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := conn.Exec(ctx, `WITH confirmed AS (UPDATE nodes SET applied = $2 WHERE id = $1 AND applied < $2 RETURNING id)
		SELECT pg_notify($3, $4) FROM confirmed`, id(as), int64(applied), b.opts.Schema, confirmation(as, applied))
	if err == nil {
		b.confirmed = applied
	}
	return err
}

// listen returns when there may be something to apply or to confirm.
func (b *bringer) listen(ctx context.Context, conn *pgx.Conn) error {
	patience, cancel := context.WithTimeout(ctx, lookForChanges)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(patience)
		switch {
		case err == nil:
		case patience.Err() != nil && ctx.Err() == nil && !conn.IsClosed():
			b.owed = b.follower.Applied() // perhaps a notice was lost
			return nil
		default:
			return err
		}
		if b.heard(n.Payload) {
			return nil
		}
	}
}

// heard takes a notice in. It reports whether there is something to do.
func (b *bringer) heard(payload string) bool {
	var seq uint64
	var who string
	kind, rest, _ := strings.Cut(payload, " ")
	if _, err := fmt.Sscan(rest, &seq); err != nil {
		return true
	}
	_, who, _ = strings.Cut(rest, " ")
	switch kind {
	case "change":
		if who == b.process {
			return false // applied already by who has committed it
		}
		b.owed = max(b.owed, seq)
		return true
	case "applied":
		if node, err := uuid.Parse(who); err == nil {
			b.mu.Lock()
			b.node.acknowledged(node, seq)
			b.mu.Unlock()
		}
		return false
	}
	return true
}

// The notices that nodes send to each other.
func changeNotice(seq uint64, process string) string {
	return fmt.Sprintf("change %d %s", seq, process)
}
func confirmation(node uuid.UUID, applied uint64) string {
	return fmt.Sprintf("applied %d %s", applied, node)
}

// scanChanges reads the rows of selectChanges.
func (s *Store) scanChanges(rows pgx.Rows) ([]registry.Change, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c registry.Change, err error) {
		var process string
		var text []byte
		if err := row.Scan(&c.Seq, &c.Serial, &process, &text); err != nil {
			return c, err
		}
		c.Batch, err = decodeBatch(text)
		return c, err
	})
}

// scanMembers reads the rows of nodes, with further columns that are the same in
// all.
func scanMembers(rows pgx.Rows, more ...any) (all []member, err error) {
	defer rows.Close()
	for rows.Next() {
		var node *uuid.UUID
		var applied, renewal *int64
		if err := rows.Scan(append([]any{&node, &applied, &renewal}, more...)...); err != nil {
			return nil, err
		}
		if node != nil {
			all = append(all, member{*node, uint64(*applied), uint64(*renewal)})
		}
	}
	return all, rows.Err()
}
