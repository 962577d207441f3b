package sqlite

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
)

const (
	// checkpointAfter is after how many mutations the log is moved into the
	// database. Each writes a page or two, where the accounts are many.
	checkpointAfter = 1000
	// maxBehind is how many more a checkpointer that does not keep up may leave in
	// the log, until commits wait for it: 64 MB or so.
	maxBehind = 16 * checkpointAfter
)

// checkpointer moves the write-ahead log into the database, on a connection of its
// own, while commits go on. SQLite would do it in a commit, and who waits for that
// one would wait for a thousand pages, and for the flush of them, as well.
//
// SQLite begins the log anew only after a checkpoint that left nothing, and flushes
// the database only then. Commits that go on always leave something. So what the
// passes beside them have moved is flushed at once, and what they left, which is
// little, is for the next commit to move.
//
// What was moved and could not be flushed is nowhere but in the log: the system
// tells of the failure once, and may forget the pages. The index of the log counts
// them as moved, and the log would begin anew over them. So after a failure nothing
// counts as moved: all reads of the log find it there, and the next pass moves it
// again.
type checkpointer struct {
	conn  *rawConn
	flush func() error // of the database
	log   *slog.Logger
	due   chan struct{} // taken between rounds only
	ended chan struct{}

	mutations int         // since the last round began; for the committer alone
	prepared  atomic.Bool // the rest of the log is for the next commit

	passing  sync.Mutex // held while the log is moved
	failing  bool       // the last pass
	failures atomic.Uint64
}

// startCheckpointer opens a connection to the database at path, and its log.
func startCheckpointer(path string, log *slog.Logger) (*checkpointer, error) {
	conn, err := openRaw(path)
	if err != nil {
		return nil, err
	}
	if err := conn.exec(`SELECT serial FROM zone`); err != nil { // now the log is open for sure
		conn.close()
		return nil, err
	}
	c := &checkpointer{conn: conn, flush: conn.flush, log: log, due: make(chan struct{}), ended: make(chan struct{})}
	go c.run()
	return c, nil
}

func (c *checkpointer) run() {
	defer close(c.ended)
	for range c.due {
		pass := func() error {
			if err := c.conn.exec(passive); err != nil {
				return err
			}
			return c.flush()
		}
		well := c.move(pass)
		if well {
			well = c.move(pass)
		}
		c.prepared.Store(well)
	}
}

// passive moves what no reader needs in the log, and waits for nobody.
const passive = `PRAGMA wal_checkpoint(PASSIVE)`

// move does a pass, and reports whether it went well.
func (c *checkpointer) move(pass func() error) bool {
	c.passing.Lock()
	defer c.passing.Unlock()
	err := pass()
	if err != nil {
		c.failures.Add(1) // for the transaction that began before
		if undone := c.conn.moveNothing(); undone != nil {
			c.log.Error("what the log has cannot be kept; restart the server", "err", undone)
		}
		c.failures.Add(1) // and for one that began just now
	}
	if err != nil && !c.failing {
		c.log.Warn("the write-ahead log cannot be moved into the database; it grows until that works", "err", err)
	}
	c.failing = err != nil
	return err == nil
}

// committed is told of each commit, by the committer.
func (d *database) committed(ctx context.Context, mutations int) {
	c := d.checkpoints
	c.mutations += mutations
	behind := c.mutations >= maxBehind
	if c.prepared.Swap(false) || behind {
		c.move(func() error {
			_, err := d.conn.ExecContext(ctx, passive)
			return err
		})
	}
	if behind {
		c.mutations = 0
	}
	if c.mutations < checkpointAfter {
		return
	}
	select {
	case c.due <- struct{}{}:
		c.mutations = 0
	default: // it is at it
	}
}

// close waits for the end of a round. There are no commits any more.
func (c *checkpointer) close() {
	close(c.due)
	<-c.ended
	c.conn.close()
}
