// Package sqlite is the embedded store of the registry: one SQLite file.
//
// It promises what registry.Store asks for, on one machine. The file is in WAL
// mode with synchronous=FULL, so that a commit is flushed before it is
// acknowledged. One connection writes, because the registry gives a store one
// call at a time and answers reads from memory; another one moves the log into
// the database meanwhile (see checkpointer).
//
// Accounts and values are in two tables each: an account is written to the end of
// newcomers and a change of a value to that of recent, and moved into accounts and txt,
// which are ordered by username, together with many others. So a commit writes a few
// pages, and a crowd of registrations or updates takes no longer among a million
// accounts than among ten; only one that never ends pays for the moving.
//
// One process at a time uses a database. That is kept by a lock on a file
// beside it (cnamed.db-lock), which the kernel lets go of when the process
// ends in whatever way. locking_mode=EXCLUSIVE would do as well, but would also
// shut out readers, such as a backup of the running server; and a lock on the
// database file itself is unsafe, since to close any descriptor of it drops
// the POSIX locks that SQLite holds on it. Others may read the database while
// the server runs. To write it from outside is not supported: the server would
// not see it.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cnamed/registry"
)

// Options of a Store. The zero value is ready to use.
type Options struct {
	// Log is told what Recover did. nil: discard.
	Log *slog.Logger
	// Now dates a new database, and a copy of an old one. nil: time.Now.
	Now func() time.Time
	// Existing refuses to make a database, and to change the schema of one.
	Existing bool

	migrations []string // nil: those of the program
	mostRecent int      // 0: as the constant
}

// Store is a registry.Store in a SQLite file. It is safe for concurrent use.
type Store struct {
	path string
	opts Options
	log  *slog.Logger

	mu     sync.Mutex
	lock   *os.File
	db     *database
	doubt  bool // more may be durable than was acknowledged: no commits
	closed bool

	// committing runs between COMMIT and the check that follows it. A test
	// makes the file vanish there.
	committing func()
}

// Open opens the database at path and brings its schema up to date, all of it or
// nothing; before that it keeps a copy beside it, named by version and time. It
// makes the file (mode 0600), and its folder (0700), where there is none. It
// proves by a durable write that the database can be written.
//
// A database of a newer schema, a file that is no database of this program, one
// that another process uses, and one that cannot be written are refused with
// an error that has a Hint method. Open does not wait for another process.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.migrations == nil {
		opts.migrations = migrations
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	s := &Store{path: path, opts: opts, log: opts.Log, committing: func() {}}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("opening the database %s: %w", path, explain(err))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.opts.Existing {
		if _, err := os.Stat(s.path); err != nil {
			return err
		}
	}
	if err := makeFolder(filepath.Dir(s.path)); err != nil {
		return err
	}
	s.lock, err = lockFile(s.path + lockSuffix)
	if err != nil {
		return err
	}
	if err := s.create(ctx); err != nil {
		return errors.Join(err, unlockFile(s.lock))
	}
	if err = makeFile(s.path); err == nil {
		s.db, err = openDatabase(ctx, s.path, &s.opts)
	}
	if err != nil {
		return errors.Join(err, unlockFile(s.lock))
	}
	s.db.makeRoom(ctx, s.log)
	return nil
}

// Close implements registry.Store. SQLite moves the write-ahead log into the
// database when its last connection closes.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	// If the file has vanished, the open handle is all that there is.
	var err error
	if errors.Is(s.db.files.check(), errGone) {
		if err = s.recover(context.Background(), new(bool)); err != nil {
			err = failed("writing the lost database anew", err)
		}
	}
	err = errors.Join(err, s.db.close())
	// The lock file stays: to remove it would let two processes hold locks on
	// two files of one name.
	return errors.Join(err, unlockFile(s.lock))
}

// failed wraps an error for the registry.
func failed(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", registry.ErrStore, doing, explain(err))
}

var errClosed = fmt.Errorf("%w: the database is closed", registry.ErrStore)
