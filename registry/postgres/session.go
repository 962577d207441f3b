package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	callTimeout  = 5 * time.Second // for a round trip
	closeTimeout = 200 * time.Millisecond

	firstPause = 50 * time.Millisecond // after a connection that failed
	lastPause  = 2 * time.Second
)

// session is one connection, which is made when it is needed, and made again when
// it was lost. It is safe for concurrent use; calls follow each other.
type session struct {
	config *pgx.ConnConfig
	setup  string // SQL, for every new connection

	mu     sync.Mutex
	conn   *pgx.Conn
	closed bool
	err    error // of the last attempt to connect
	pause  time.Duration
	next   time.Time // of another attempt
}

// do calls f with the connection. An error closes it, unless it is a refusal or
// one that f has dealt with: what state the connection is in, nobody knows.
func (s *session) do(ctx context.Context, timeout time.Duration, f func(context.Context, *pgx.Conn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		return err
	}
	err := f(ctx, s.conn)
	if err != nil && !errors.As(err, new(*refusedError)) || s.conn.IsClosed() {
		s.drop()
	}
	return err
}

// connect makes sure that there is a connection. While the pause after a failure
// lasts it fails with the error of then.
func (s *session) connect(ctx context.Context) error {
	switch {
	case s.closed:
		return errClosed
	case s.conn != nil && !s.conn.IsClosed():
		return nil
	case s.err != nil && time.Now().Before(s.next):
		return s.err
	}
	s.conn = nil
	conn, err := pgx.ConnectConfig(ctx, s.config)
	if err == nil && s.setup != "" {
		if _, err = conn.Exec(ctx, s.setup, pgx.QueryExecModeSimpleProtocol); err != nil {
			closeConn(conn)
		}
	}
	if s.err = err; err != nil {
		s.pause = min(max(2*s.pause, firstPause), lastPause)
		s.next = time.Now().Add(s.pause)
		return err
	}
	s.conn, s.pause = conn, 0
	return nil
}

// drop closes the connection. The server takes back what was not committed.
func (s *session) drop() {
	if s.conn != nil {
		closeConn(s.conn)
		s.conn = nil
	}
}

func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
}

// closeConn does not wait for a server that does not answer.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// refusedError is an error after which the connection is in order.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }

func (e *refusedError) Unwrap() error { return e.err }

// parse reads a connection string and completes it with what the protocol needs.
func parse(connection, schema, process string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(connection)
	if err != nil {
		return nil, &hintedError{fmt.Errorf("%w: %w", errConnection, err), hintConnection}
	}
	if config.ConnectTimeout == 0 || config.ConnectTimeout > callTimeout {
		config.ConnectTimeout = callTimeout
	}
	if config.ValidateConnect == nil {
		// One that became a standby would refuse every write.
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	config.RuntimeParams["search_path"] = schema
	config.RuntimeParams["application_name"] = process
	// A node that stops within its turn must not stop all others.
	config.RuntimeParams["idle_in_transaction_session_timeout"] = milliseconds(turnTimeout)
	config.RuntimeParams["lock_timeout"] = milliseconds(lockTimeout)
	return config, nil
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

func (s *session) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
