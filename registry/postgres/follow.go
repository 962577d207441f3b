package postgres

import (
	"context"
	"errors"
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
// row of changes that is long costs no membership, unless it takes followTime
// to catch up: then the node leaves.
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
		err := s.renew(ctx, f, !down)
		if ctx.Err() != nil {
			break
		}
		switch {
		case err == nil && down:
			s.log.Info("this node is one of the name servers again")
		case err != nil && !down && !errors.Is(err, errBehind): // it was said why
			s.log.Warn("this node cannot confirm that it is alive", "err", err)
		}
		down = err != nil
		select {
		case <-ctx.Done():
		case <-renew.C:
		case <-s.follows:
		case <-prune.C:
			s.prune(ctx)
		}
	}
	s.mu.Lock()
	s.following = false
	left := s.node.leave()
	s.mu.Unlock()
	_ = s.remove(context.WithoutCancel(ctx), left)
}

// remove has nobody wait for a member that this node was. Where that fails, the
// others wait until it is overdue.
func (s *Store) remove(ctx context.Context, left uuid.UUID) error {
	if left == uuid.Nil {
		return nil
	}
	return s.polls.do(ctx, time.Second, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `DELETE FROM nodes WHERE id = $1`, id(left))
		return err
	})
}

// renew makes the node a member, or keeps it one. One that cannot follow must
// be none. renewed says that the renewal before succeeded.
func (s *Store) renew(ctx context.Context, f registry.Follower, renewed bool) error {
	s.mu.Lock()
	var left uuid.UUID
	lost, member := s.node.lost(s.now()), s.node.id
	if lost && member != uuid.Nil {
		left = s.node.leave() // before others can see that it has
	}
	s.mu.Unlock()
	switch {
	case lost:
		if err := s.remove(ctx, left); err != nil {
			return failed("leaving", err) // the database is away, for renewals too
		}
		if left != uuid.Nil && renewed {
			s.log.Warn("this node does not answer until it can follow the others")
			s.mu.Lock()
			s.unable = s.node.lost(s.now())
			s.mu.Unlock()
		}
		return errBehind
	case member == uuid.Nil:
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
