package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cnamed/registry"
)

// rescueSuffix names the copy that replaces a lost file, until it is whole.
const rescueSuffix = "-rescue"

// Recover implements registry.Store. What it does depends on what is at the
// path of the database:
//
//   - The open file, which may have been away: it is opened afresh.
//   - Another database of this program: an operator put it there, perhaps a
//     backup, and so it is used from now on.
//   - Nothing, or the file without its log: the open handle has the whole
//     content still, and it is written anew.
//   - Anything else is left alone, and is an error.
//
// The old handle stays open until the new one has been written to, so that a
// recovery that fails half-way can be tried again.
func (s *Store) Recover(ctx context.Context) (reload bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, errClosed
	}
	if err := s.recover(ctx, &reload); err != nil {
		return reload, failed("recovering", err)
	}
	return reload, nil
}

func (s *Store) recover(ctx context.Context, reload *bool) error {
	if err := s.relock(); err != nil {
		return err
	}
	now, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.rewrite(ctx, reload)
	case err != nil:
		return err
	case !os.SameFile(now, s.db.files.main):
		return s.adopt(ctx, now, reload)
	}
	err = s.db.files.check()
	if errors.Is(err, errGone) || errors.Is(err, errReplaced) { // the log, that is
		return s.rewrite(ctx, reload)
	}
	if err != nil {
		return err
	}
	return s.reopen(ctx, reload)
}

// reopen changes to a new handle of what is at the path.
func (s *Store) reopen(ctx context.Context, reload *bool) error {
	db, err := openDatabase(ctx, s.path, &s.opts)
	if err != nil {
		return err
	}
	db.makeRoom(ctx, s.log)
	old := s.db
	s.db = db
	*reload, s.doubt = s.doubt, false
	if err := old.close(); err != nil {
		s.log.Warn("closing the old handle of the database", "path", s.path, "err", err)
	}
	return nil
}

// rewrite writes the content of the open handle to a new file at the path.
func (s *Store) rewrite(ctx context.Context, reload *bool) error {
	rescue := s.path + rescueSuffix
	if err := removeFile(rescue); err != nil {
		return err
	}
	if err := makeFile(rescue); err != nil {
		return err
	}
	if err := copyTo(ctx, s.db.conn, rescue); err != nil {
		return errors.Join(err, os.Remove(rescue))
	}
	// The copy needs no log. One that is at the path belongs to the file that
	// was lost, and must not be applied to the new one: away with it first.
	for _, suffix := range []string{walSuffix, shmSuffix} {
		if err := removeFile(s.path + suffix); err != nil {
			return errors.Join(err, os.Remove(rescue))
		}
	}
	if err := os.Rename(rescue, s.path); err != nil {
		return errors.Join(err, os.Remove(rescue))
	}
	if err := syncFolder(filepath.Dir(s.path)); err != nil {
		return err
	}
	if err := s.reopen(ctx, reload); err != nil {
		return err
	}
	s.log.Warn("the database file was gone and has been written anew", "path", s.path)
	return nil
}

// adopt changes to the other file that is at the path.
func (s *Store) adopt(ctx context.Context, other fs.FileInfo, reload *bool) error {
	if other.Size() == 0 {
		return errEmpty
	}
	// makeFile makes what exists private, and refuses what is read-only.
	if err := makeFile(s.path); err != nil {
		return err
	}
	// The file that was moved away gets all that was acknowledged, wherever it
	// is now, and its log leaves the place of the new one's.
	var busy, pages, done int
	var err error
	s.db.checkpoints.move(func() error {
		err = s.db.conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &done)
		return err
	})
	if err == nil && busy != 0 {
		err = errors.New("a reader keeps the old database busy")
	}
	if err == nil {
		err = s.db.files.removeLog()
	}
	if err != nil {
		return fmt.Errorf("completing the old database: %w", err)
	}
	s.doubt = true // whatever was known of the content
	if err := s.reopen(ctx, reload); err != nil {
		return err
	}
	s.log.Warn("another database was put in the place of the open one and is used now", "path", s.path)
	return nil
}

// relock makes sure that the locked file is the one beside the database: the
// whole folder may have been removed.
func (s *Store) relock() error {
	if err := makeFolder(filepath.Dir(s.path)); err != nil {
		return err
	}
	held, err := s.lock.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(s.path + lockSuffix)
	if err == nil && os.SameFile(held, now) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lock, err := lockFile(s.path + lockSuffix)
	if err != nil {
		return err
	}
	old := s.lock
	s.lock = lock
	return unlockFile(old)
}

var _ registry.Store = (*Store)(nil)
