//go:build unix

package postgres

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"cnamed/registry"
)

// record is a handler of logs that keeps those of errors, and the messages of
// warnings and errors.
type record struct {
	slog.Handler
	errors chan string

	mu       sync.Mutex
	messages []string
}

// count is how often a message was logged.
func (r *record) count(message string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.messages {
		if m == message {
			n++
		}
	}
	return n
}

func (r *record) Handle(ctx context.Context, l slog.Record) error {
	if l.Level >= slog.LevelWarn {
		r.mu.Lock()
		r.messages = append(r.messages, l.Message)
		r.mu.Unlock()
	}
	if l.Level >= slog.LevelError {
		text := l.Message
		l.Attrs(func(a slog.Attr) bool {
			text += " " + a.String()
			return true
		})
		select {
		case r.errors <- text:
		default: // a test looks at the first ones
		}
	}
	return r.Handler.Handle(ctx, l)
}

// logged waits for an error in the log.
func (n *testNode) logged(t *testing.T) (text string) {
	t.Helper()
	await(t, "no error was logged", func() bool {
		select {
		case text = <-n.errors:
			return true
		default:
			return false
		}
	})
	return text
}

// commitRaw commits a batch as another program may, without a notification, and
// returns its number.
func commitRaw(t *testing.T, connection, schema, batch string) (seq int64) {
	t.Helper()
	raw(t, connection, func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), `WITH z AS (UPDATE `+schema+`.zone SET seq = seq + 1, serial = serial + 1 RETURNING seq, serial)
			INSERT INTO `+schema+`.changes (seq, serial, process, batch) SELECT seq, serial, 'raw', $1 FROM z RETURNING seq`, batch).Scan(&seq)
	})
	return seq
}

func raw(t *testing.T, connection string, f func(*pgx.Conn) error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), connection)
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	if err := f(conn); err != nil {
		t.Fatal(err)
	}
}

// TestNodeThatCannotFollowGivesUp: a change of a kind that a node does not know
// takes it out, and not the others; it does not load past it, even where the
// change is removed; and it is back by itself when it can read it.
func TestNodeThatCannotFollowGivesUp(t *testing.T) {
	t.Parallel()
	connection, schema := place(t)
	old := startNode(t, connection, schema)
	ctx := t.Context()
	c, err := old.Register(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	seq := commitRaw(t, connection, schema, `[{"do":"future"}]`)
	began := time.Now()
	newer := startNode(t, connection, schema) // beyond the change, as it loads what is there

	if err := update(ctx, newer, c, txt('a')); err != nil {
		t.Errorf("update on another node: %v", err)
	}
	waited := time.Since(began)
	if waited > followTime+leaseTime { // to remove a node that is silent takes longer
		t.Errorf("it took %v", waited)
	}
	if _, _, err := old.AppendTXT(nil, []byte(c.Subdomain)); !errors.Is(err, registry.ErrStale) {
		t.Errorf("an update was acknowledged, and the node that lacks it answers: %v", err)
	}
	if err := old.Check(ctx); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("health: %v", err)
	}
	if err := update(ctx, old, c, txt('b')); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("update on the node that cannot follow: %v", err)
	}
	began = time.Now()
	if err := update(ctx, newer, c, txt('c')); err != nil || time.Since(began) > leaseTime {
		t.Errorf("the next update: %v, after %v", err, time.Since(began))
	}
	t.Logf("the first update took %v, the next one %v", waited, time.Since(began))

	// A gap leads to the same.
	var row string
	raw(t, connection, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `DELETE FROM `+schema+`.changes WHERE seq = $1 RETURNING process`, seq).Scan(&row)
	})
	if err := old.SetChallenges(ctx, nil); !errors.Is(err, errNewer) {
		t.Errorf("a write where the change is gone: %v", err)
	}
	if old.store.Fresh() {
		t.Error("it has loaded what it may not understand")
	}

	text := old.logged(t)
	if !strings.Contains(text, errBehind.Error()) || !strings.Contains(text, `"future"`) || !strings.Contains(text, "hint=install") {
		t.Errorf("logged: %s", text)
	}
	select {
	case text := <-old.errors:
		t.Errorf("logged again: %s", text)
	default:
	}

	raw(t, connection, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `INSERT INTO `+schema+`.changes (seq, serial, process, batch) SELECT seq - 1, serial, 'raw', '[]' FROM `+
			schema+`.changes WHERE seq = $1 + 1`, seq)
		return err
	})
	await(t, "the node does not come back", old.store.Fresh)
	if got := old.values(t, c.Subdomain); len(got) != 2 || got[0] != txt('c') {
		t.Errorf("back again it serves %q", got)
	}
	if err := update(ctx, old, c, txt('d')); err != nil {
		t.Errorf("update: %v", err)
	}
}

// TestOnlyWhoReachesTheDatabaseCannotFollow: whose renewals go on while it does
// not follow says so, and one that finds the database again and still does not;
// not one from which the database is away, as that looks like a version that does
// not fit.
func TestOnlyWhoReachesTheDatabaseCannotFollow(t *testing.T) {
	t.Parallel()
	const (
		silent = "this node does not answer until it can follow the others"
		away   = "this node cannot confirm that it is alive"
	)
	expect := func(t *testing.T, n *testNode, message string, want int) {
		t.Helper()
		if got := n.log.count(message); got != want {
			t.Errorf("%q was logged %d times, not %d", message, got, want)
		}
	}
	lost := func(n *testNode) func() bool {
		return func() bool {
			n.store.mu.Lock()
			defer n.store.mu.Unlock()
			return n.store.node.lost(n.store.now())
		}
	}
	t.Run("away", func(t *testing.T) {
		t.Parallel()
		_, schema := place(t)
		line := lineTo(t)
		n := startNode(t, line.URL(), schema)
		line.Cut()
		await(t, "it goes on", lost(n))
		await(t, "it is still a member", func() bool { return n.membership() == uuid.Nil })
		line.Mend() // what it tried until now has failed when it is back
		await(t, "it does not come back", n.store.Fresh)
		expect(t, n, errBehind.Error(), 0)
		expect(t, n, silent, 0)
		expect(t, n, away, 1)
	})
	for _, cut := range []bool{false, true} {
		t.Run(map[bool]string{false: "there", true: "there again"}[cut], func(t *testing.T) {
			t.Parallel()
			connection, schema := place(t)
			line := lineTo(t)
			n := startNode(t, line.URL(), schema)
			if cut {
				line.Cut()
			}
			raw(t, connection, func(conn *pgx.Conn) error {
				_, err := conn.Exec(t.Context(), `ALTER TABLE `+schema+`.changes RENAME TO changes_away`)
				return err
			})
			await(t, "it goes on", lost(n))
			await(t, "it is still a member", func() bool { return n.membership() == uuid.Nil })
			if cut {
				expect(t, n, errBehind.Error(), 0)
				line.Mend()
			}
			if text := n.logged(t); !strings.Contains(text, errBehind.Error()) || !strings.Contains(text, "changes") {
				t.Errorf("logged: %s", text)
			}
			if cut {
				expect(t, n, away, 1)
			} else {
				await(t, "it does not say that it is silent", func() bool { return n.log.count(silent) == 1 })
				expect(t, n, away, 0)
			}
			raw(t, connection, func(conn *pgx.Conn) error {
				_, err := conn.Exec(t.Context(), `ALTER TABLE `+schema+`.changes_away RENAME TO changes`)
				return err
			})
			await(t, "it does not come back", n.store.Fresh)
			expect(t, n, errBehind.Error(), 1)
			expect(t, n, silent, map[bool]int{false: 1}[cut])
		})
	}
}

// TestDamagedChangeIsNoEnd: the tables have what it did.
func TestDamagedChangeIsNoEnd(t *testing.T) {
	t.Parallel()
	connection, schema := place(t)
	nodes := []*testNode{startNode(t, connection, schema), startNode(t, connection, schema)}
	for _, batch := range []string{`[{"do":`, `[{"do":"put","txt":"short"}]`} {
		commitRaw(t, connection, schema, batch)
		if err := nodes[0].SetChallenges(t.Context(), []string{txt('a')}); err != nil {
			t.Errorf("a write after %s: %v", batch, err)
		}
		for i, n := range nodes {
			if text := n.logged(t); !strings.Contains(text, "damaged") || !strings.Contains(text, "hint=the tables are loaded") {
				t.Errorf("node %d logged: %s", i, text)
			}
			await(t, "a node does not come back", n.store.Fresh)
		}
		if got := nodes[1].values(t, registry.OwnLabel); len(got) != 1 || got[0] != txt('a') {
			t.Errorf("after %s the other node serves %q", batch, got)
		}
	}
}

// TestGapThatStays: what is behind the newest change is no turn's. To load does
// not help, and is not tried for ever by who has to answer a write.
func TestGapThatStays(t *testing.T) {
	t.Parallel()
	connection, schema := place(t)
	n := startNode(t, connection, schema)
	raw(t, connection, func(conn *pgx.Conn) error {
		_, err := conn.Exec(t.Context(), `INSERT INTO `+schema+`.changes (seq, serial, process, batch) SELECT seq + 1, serial, 'raw', '{' FROM `+schema+`.zone`)
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	if err := n.SetChallenges(ctx, nil); !errors.Is(err, registry.ErrStore) {
		t.Errorf("a write: %v", err)
	}
	raw(t, connection, func(conn *pgx.Conn) error {
		_, err := conn.Exec(t.Context(), `DELETE FROM `+schema+`.changes WHERE process = 'raw'`)
		return err
	})
	await(t, "the node takes no writes", func() bool { return n.SetChallenges(t.Context(), nil) == nil })
}
