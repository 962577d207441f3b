package postgres

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"cnamed/registry"
)

// tries says that changes are looked for.
func (s *Store) tries() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node.tries(s.now())
}

// caughtUp says that there are none that are not applied and confirmed. A node
// that was lost is a member again at once.
func (s *Store) caughtUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node.lost(s.now()) {
		select {
		case s.follows <- struct{}{}:
		default:
		}
	}
	s.node.follows()
	s.unable = false
	if s.told != nil {
		s.told = nil
		s.log.Info("this node follows the others again")
	}
}

// connected says that there is a connection to look for changes on. If they are
// still not followed, the database is not what is missing.
func (s *Store) connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unable = s.unable || s.node.lost(s.now())
}

// cannotFollow logs why, each reason once: at once what does not pass by itself,
// and else when the time for it is over. That the database is away is no reason:
// who renews has said so.
func (s *Store) cannotFollow(err error) {
	s.mu.Lock()
	reason := error(nil)
	switch {
	case errors.Is(err, errNewer):
		reason = errNewer
	case errors.Is(err, errDamaged):
		reason = errDamaged
	case s.unable && s.told == nil:
		reason = errBehind
	}
	tell := reason != nil && !slices.Contains(s.told, reason)
	if tell {
		s.told = append(s.told, reason)
	}
	s.mu.Unlock()
	if !tell {
		s.log.Debug("following the other nodes", "err", err)
		return
	}
	var hinted *hintedError
	if errors.As(explain(err), &hinted) {
		s.log.Error(errBehind.Error(), "err", err, "hint", hinted.hint)
	} else {
		s.log.Error(errBehind.Error(), "err", err)
	}
}

// scanChanges reads the rows of selectChanges. One that nobody can read is a gap:
// the tables have what it did. One of a kind that this version does not know is
// none, as it may know the tables no better.
func (s *Store) scanChanges(rows pgx.Rows) ([]registry.Change, error) {
	changes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c registry.Change, err error) {
		var process string
		var text []byte
		if err := row.Scan(&c.Seq, &c.Serial, &process, &text); err != nil {
			return c, err
		}
		c.Batch, err = decodeBatch(text)
		if errors.Is(err, errDamaged) {
			err = fmt.Errorf("%w: %d: %w", registry.ErrGap, c.Seq, err)
		}
		s.know(c.Seq, err)
		return c, err
	})
	if errors.Is(err, errNewer) || errors.Is(err, errDamaged) {
		s.cannotFollow(err)
	}
	return changes, err
}

// know notes that the change seq was read, or why not.
func (s *Store) know(seq uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, errNewer):
		s.unknown, s.unknownAt = err, seq
	case err == nil && seq == s.unknownAt:
		s.unknown = nil
	}
}

// gap returns err, but for a gap where a change was met that this version does
// not know: then why it must not be loaded past that. The row may have been
// removed meanwhile, by nodes that know it.
func (s *Store) gap(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unknown != nil && errors.Is(err, registry.ErrGap) {
		return s.unknown
	}
	return err
}
