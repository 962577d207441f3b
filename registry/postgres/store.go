package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"cnamed/registry"
)

// DefaultSchema is where the tables are.
const DefaultSchema = "cnamed"

// Options of a Store. The zero value is ready to use.
type Options struct {
	// Schema is the PostgreSQL schema of the tables, which is made if need be, and
	// the channel of notifications. "": DefaultSchema.
	Schema string
	// Log is told when a connection is lost, when a node is not waited for any
	// more, and when this one cannot follow the others. nil: discard.
	Log *slog.Logger
	// Existing refuses to make the tables, with ErrAbsent, and to change their
	// schema.
	Existing bool

	migrations []string // nil: those of the program
}

// Store is a registry.Shared in a PostgreSQL database. It is safe for concurrent
// use, but for what registry.Shared excludes.
type Store struct {
	opts    Options
	log     *slog.Logger
	config  *pgx.ConnConfig
	process string // names the connections of this process
	start   time.Time

	writes session // turns
	polls  session // renewals, and a look at the other nodes

	turn *turn // nil: none; for who may call Begin

	mu        sync.Mutex
	node      node
	following bool

	unknown   error // this version does not know the change unknownAt
	unknownAt uint64
	told      []error // for which of these reasons it cannot follow, as was logged
	unable    bool    // it is lost while the database is there

	follows chan struct{} // told by bring: a node that was lost follows again

	polling sync.Mutex
	polled  instant
}

// Open connects to the database that a connection string names, a URL or the
// key=value form of libpq, and brings its schema up to date. TLS is as sslmode,
// sslrootcert and so on say in it. Errors have a Hint method.
func Open(ctx context.Context, connection string, opts Options) (*Store, error) {
	if opts.Schema == "" {
		opts.Schema = DefaultSchema
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.migrations == nil {
		opts.migrations = migrations
	}
	s := &Store{opts: opts, log: opts.Log, start: time.Now(), follows: make(chan struct{}, 1)}
	random := uuid.New()
	s.process = fmt.Sprintf("cnamed %x", random[:6])
	var err error
	if s.config, err = parse(connection, opts.Schema, s.process); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	// A server may be set to acknowledge what is not flushed; more than a flush
	// is its own business.
	s.writes.config, s.writes.setup = s.config, flushed
	s.polls.config, s.polls.setup = s.config, flushed
	err = s.with(ctx, func(conn *pgx.Conn) error {
		var fsync string
		if err := conn.QueryRow(ctx, `SHOW fsync`).Scan(&fsync); err == nil && fsync != "on" {
			s.log.Warn("the PostgreSQL server runs with fsync=off: a loss of power can destroy the database")
		}
		return migrate(ctx, conn, &opts)
	})
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", explain(err))
	}
	return s, nil
}

const (
	flushed = `SELECT set_config('synchronous_commit', 'on', false)
		WHERE current_setting('synchronous_commit') IN ('off', 'local')`
	// What a node confirms, it can confirm again.
	unflushed = `SET synchronous_commit = off`
)

// now is the time on the clock of the protocol, which goes on while the process
// is stopped.
func (s *Store) now() instant { return instant(time.Since(s.start)) }

// with calls f with a connection of its own.
func (s *Store) with(ctx context.Context, f func(*pgx.Conn) error) error {
	config := s.config.Copy()
	for _, name := range []string{"idle_in_transaction_session_timeout", "lock_timeout"} {
		delete(config.RuntimeParams, name)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	return f(conn)
}

// Recover implements registry.Store. A connection is made again by who needs it,
// and what may have been committed unnoticed comes as a change.
func (s *Store) Recover(ctx context.Context) (reload bool, err error) {
	err = s.writes.do(ctx, callTimeout, func(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) })
	return false, failed("connecting", err)
}

// Close implements registry.Store. It does not wait for a server that does not
// answer.
func (s *Store) Close() error {
	s.writes.close()
	s.polls.close()
	return nil
}

// Fresh implements registry.Shared.
func (s *Store) Fresh() bool { return s.node.lease.valid(s.now()) }

// Settle implements registry.Shared. Confirmations come as notifications; a look
// at the table makes up for those that were lost.
func (s *Store) Settle(ctx context.Context, seq uint64) error {
	s.mu.Lock()
	done := s.node.await(seq)
	s.mu.Unlock()
	if done == nil {
		return nil
	}
	timeout := time.NewTimer(settleTimeout)
	defer timeout.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return fmt.Errorf("%w: a node did not confirm a change, and could not be removed", registry.ErrUnavailable)
		case <-look.C:
			s.look(ctx)
		}
	}
}

const (
	// settleTimeout leaves time to remove a node that died in this moment.
	settleTimeout = 2 * time.Duration(evictAfter)
	// lookEvery is how long a confirmation may take before anybody looks.
	lookEvery = 250 * time.Millisecond
)

// look looks at the other nodes, unless somebody does or just did.
func (s *Store) look(ctx context.Context) {
	if !s.polling.TryLock() {
		return
	}
	defer s.polling.Unlock()
	if s.polled > 0 && s.now()-s.polled < instant(lookEvery)/2 {
		return
	}
	// The one whose turn it is looks for all, and may be gone before it is done.
	_ = s.poll(context.WithoutCancel(ctx), uuid.Nil)
}

var (
	_ registry.Shared   = (*Store)(nil)
	_ registry.Exporter = (*Store)(nil)
)
