package postgres

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestAttemptsToConnectBecomeRarer: however often a connection is asked for, a
// server that is away is not stormed; and it is tried at least every two seconds.
func TestAttemptsToConnectBecomeRarer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		config, err := parse("postgres://cnamed@db.example/cnamed?sslmode=disable", DefaultSchema, "test")
		if err != nil {
			t.Fatal(err)
		}
		away := errors.New("the server is away")
		var attempts []time.Time
		config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"192.0.2.1"}, nil }
		config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			attempts = append(attempts, time.Now())
			return nil, away
		}
		s := session{config: config}
		defer s.close()
		began := time.Now()
		for time.Since(began) < time.Minute {
			err := s.do(t.Context(), callTimeout, func(context.Context, *pgx.Conn) error { return nil })
			if !errors.Is(err, away) {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if len(attempts) < 30 || len(attempts) > 40 {
			t.Errorf("%d attempts in a minute", len(attempts))
		}
		for i := 2; i < len(attempts); i++ {
			before, pause := attempts[i-1].Sub(attempts[i-2]), attempts[i].Sub(attempts[i-1])
			if pause < before-5*time.Millisecond || pause > lastPause+5*time.Millisecond {
				t.Errorf("the pause after attempt %d is %v, the one before was %v", i, pause, before)
			}
		}
	})
}
