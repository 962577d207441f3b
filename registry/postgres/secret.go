package postgres

import (
	"context"
	"errors"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Secrets are what the nodes have in common beside the registry: the secret of
// DNS cookies, the key of reply limits, TSIG keys, the certificate of the API. They
// are kept in clear: who can read the database can as well set values in it, and so
// obtain every certificate; a key beside each node would be one more thing to
// distribute, and lie on the same machines. Access to the database, its backups and
// the way to it (TLS) are the protection.

// Secret returns the secret with a name. Where there is none it is made by draw;
// of several nodes at once one makes it, and all return the same.
func (s *Store) Secret(ctx context.Context, name string, draw func() ([]byte, error)) (value []byte, err error) {
	value, err = s.LoadSecret(ctx, name)
	if err != nil || value != nil {
		return value, err
	}
	drawn, err := draw()
	if err != nil {
		return nil, err
	}
	err = s.polls.do(ctx, callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `INSERT INTO secrets VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, drawn)
		return err
	})
	if err != nil {
		return nil, failed("storing a secret", err)
	}
	return s.LoadSecret(ctx, name)
}

// LoadSecret returns the secret with a name, or nil.
func (s *Store) LoadSecret(ctx context.Context, name string) (value []byte, err error) {
	err = s.polls.do(ctx, callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, `SELECT value FROM secrets WHERE name = $1`, name).Scan(&value)
		if errors.Is(err, pgx.ErrNoRows) {
			value, err = nil, nil
		}
		return err
	})
	return value, failed("reading a secret", err)
}

// StoreSecret replaces the secret with a name.
func (s *Store) StoreSecret(ctx context.Context, name string, value []byte) error {
	err := s.polls.do(ctx, callTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `INSERT INTO secrets VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
		return err
	})
	return failed("storing a secret", err)
}

// Alone calls f while no other node is in a call of Alone with the same name. The
// lock ends with its connection, so that a node that dies keeps nobody waiting;
// when the connection is lost, the context of f ends.
func (s *Store) Alone(ctx context.Context, name string, f func(context.Context) error) error {
	var result error
	err := s.with(ctx, func(conn *pgx.Conn) error {
		sum := fnv.New32a()
		sum.Write([]byte(s.opts.Schema + " " + name))
		key := int32(sum.Sum32())
		if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtext('cnamed alone'), $1)`, key); err != nil {
			return err
		}
		guarded, cancel := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			defer cancel()
			ticks := time.NewTicker(renewEvery)
			defer ticks.Stop()
			for guarded.Err() == nil && conn.Ping(guarded) == nil {
				select {
				case <-guarded.Done():
				case <-ticks.C:
				}
			}
		}()
		result = f(guarded)
		cancel()
		<-watched
		return nil
	})
	if err != nil {
		return failed("waiting for other nodes", err)
	}
	return result
}
