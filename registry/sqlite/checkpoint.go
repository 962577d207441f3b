package sqlite

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
)

const (
	// The log is moved into the database when it has grown by a part of that, within
	// these bounds, in pages: 4 and 64 MB. Where the accounts are many each update is
	// of another page, and the disk has less to do where many are moved at once; those
	// of a small database do not need so much.
	leastLog, mostLog = 1000, 16000
	logPart           = 4
	// mostRoom bounds the pages that the file of the log has from the start on. To make
	// that takes a while.
	mostRoom = 8000
	// maxBehind is how many times as much the log may grow beyond that under a
	// checkpointer that does not keep up, until commits wait for it.
	maxBehind = 3
)

// checkpointer moves the write-ahead log into the database, on a connection of its
// own, while commits go on. SQLite would do it in a commit, and who waits for that
// one would wait for thousands of pages, and for the flush of them, as well.
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

	index    *logIndex
	least    int         // leastLog, but for tests
	begun    int         // pages of the log when the last round began; for the committer alone
	prepared atomic.Bool // the rest of the log is for the next commit

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
	index, err := conn.index()
	if err != nil {
		conn.close()
		return nil, err
	}
	c := &checkpointer{conn: conn, flush: conn.flush, log: log, due: make(chan struct{}), ended: make(chan struct{}),
		index: index, least: leastLog}
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
		c.index.moveNothing()
		c.failures.Add(1) // and for one that began just now
	}
	if err != nil && !c.failing {
		c.log.Warn("the write-ahead log cannot be moved into the database; it grows until that works", "err", err)
	}
	c.failing = err != nil
	return err == nil
}

// limit is by how many pages the log of a database of so many grows until it is moved.
func (c *checkpointer) limit(pages int) int { return min(max(c.least, pages/logPart), mostLog) }

// room is how many pages the log has, as a rule, before it begins anew: until it is
// moved, and what comes meanwhile.
func (c *checkpointer) room() int64 {
	_, pages := c.index.size()
	return int64(min(c.limit(pages)*5/4, mostRoom))
}

// committed is told of each commit, by the committer.
func (d *database) committed(ctx context.Context) {
	c := d.checkpoints
	frames, pages := c.index.size()
	if frames < c.begun {
		c.begun = 0 // the log has begun anew
	}
	limit := c.limit(pages)
	behind := frames-c.begun >= maxBehind*limit
	if c.prepared.Swap(false) || behind {
		c.move(func() error {
			_, err := d.conn.ExecContext(ctx, passive)
			return err
		})
	}
	if behind {
		c.begun = frames
	}
	if frames-c.begun < limit {
		return
	}
	select {
	case c.due <- struct{}{}:
		c.begun = frames
	default: // it is at it
	}
}

// close waits for the end of a round. There are no commits any more.
func (c *checkpointer) close() {
	close(c.due)
	<-c.ended
	c.conn.close()
}
