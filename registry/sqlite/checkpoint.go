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
	// maxLog is how many pages there may be in the log until a commit moves them
	// itself, in case that the checkpointer does not come to it: 64 MB.
	maxLog = "16384"
)

// checkpointer moves the write-ahead log into the database, on a connection of its
// own, while commits go on. SQLite would do it in a commit, and who waits for that
// one would wait for a thousand pages, and for the flush of them, as well.
//
// SQLite begins the log anew only after a checkpoint that left nothing, and flushes
// the database only then. Commits that go on always leave something. So what the
// passes beside them have moved is flushed at once, and what they left, which is
// little, is for the next commit to move.
type checkpointer struct {
	conn  *rawConn
	log   *slog.Logger
	due   chan struct{}
	ended chan struct{}

	mutations int         // since it was due last; for the committer alone
	prepared  atomic.Bool // the rest is for the next commit

	passing sync.Mutex // held during a pass
	failing bool       // the last one
}

// startCheckpointer opens a connection to the database at path, and its log.
func startCheckpointer(path string, log *slog.Logger) (*checkpointer, error) {
	conn, err := openRaw(path)
	if err != nil {
		return nil, err
	}
	if err := conn.exec(`SELECT serial FROM zone`); err != nil { // only now is the log open
		conn.close()
		return nil, err
	}
	c := &checkpointer{conn: conn, log: log, due: make(chan struct{}, 1), ended: make(chan struct{})}
	go c.run()
	return c, nil
}

func (c *checkpointer) run() {
	defer close(c.ended)
	for range c.due {
		for range 2 {
			c.pass()
		}
		c.prepared.Store(true)
	}
}

// pass moves what is in the log when it begins.
func (c *checkpointer) pass() {
	c.passing.Lock()
	defer c.passing.Unlock()
	err := c.conn.exec(passive)
	if err == nil {
		err = c.conn.flush()
	}
	if err != nil && !c.failing {
		c.log.Warn("the write-ahead log cannot be moved into the database; it grows until that works", "err", err)
	}
	c.failing = err != nil
}

// passive moves what no reader needs in the log, and waits for nobody.
const passive = `PRAGMA wal_checkpoint(PASSIVE)`

// committed is told of each commit, by the committer.
func (d *database) committed(ctx context.Context, mutations int) {
	c := d.checkpoints
	if c.prepared.Swap(false) {
		// What fails here fails for the checkpointer as well, who tells of it: the
		// commit is durable.
		_, _ = d.conn.ExecContext(ctx, passive)
	}
	if c.mutations += mutations; c.mutations < checkpointAfter {
		return
	}
	c.mutations = 0
	select {
	case c.due <- struct{}{}:
	default: // it is at it
	}
}

// pause waits for the end of a pass, and keeps the next one back until resume.
func (c *checkpointer) pause() (resume func()) {
	c.passing.Lock()
	return c.passing.Unlock
}

// close waits for the end of a pass. The committer is gone.
func (c *checkpointer) close() {
	close(c.due)
	<-c.ended
	c.conn.close()
}
