package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"cnamed/registry"
)

// bring applies changes as they come and confirms them, until ctx ends.
func (s *Store) bring(ctx context.Context, f registry.Follower) {
	listens := session{config: s.config, setup: unflushed + `; LISTEN ` + pgx.Identifier{s.opts.Schema}.Sanitize()}
	defer listens.close()
	for ctx.Err() == nil {
		s.tries()
		b := bringer{Store: s, follower: f}
		err := s.gap(listens.do(ctx, forever, b.run))
		if errors.Is(err, registry.ErrGap) || errors.Is(err, registry.ErrStore) { // only Load helps
			err = f.Touch(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.cannotFollow(err)
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
	b.connected()
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
		b.tries()
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
		if err == nil && len(changes) < maxChanges {
			b.caughtUp()
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
