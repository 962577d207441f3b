package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	lib "modernc.org/sqlite/lib"

	"cnamed/registry"
)

const (
	// shortLog is what the log grows by in these tests until it is moved, in pages.
	shortLog = 100
	// perCommit is how many values a commit has, and perLog how many fill the log: each
	// commit writes a page at least, so that there are commits at all times.
	perCommit = 20
	perLog    = shortLog * perCommit
)

// openWithAccount makes a store with one account, whose log is short.
func openWithAccount(t *testing.T) (*Store, registry.Account) {
	t.Helper()
	s, account := open(t, filepath.Join(t.TempDir(), "cnamed.db")), newAccount()
	s.db.checkpoints.least = shortLog
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: account}}); err != nil {
		t.Fatal(err)
	}
	return s, account
}

// update commits n values of an account.
func update(t *testing.T, s *Store, username uuid.UUID, n int) {
	t.Helper()
	for ; n > 0; n -= perCommit {
		var batch []registry.Mutation
		for i := range perCommit {
			v := registry.Value{TXT: fmt.Sprintf("%043d", i), At: time.Unix(1700000000+int64(n), 0)}
			batch = append(batch, registry.PutValue{Username: username, Value: v})
		}
		if _, err := s.Commit(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
}

// beginnings is how often the log of a database was begun, and its size. The number
// is in its header, as the checkpoint sequence number.
func beginnings(t *testing.T, s *Store) (count uint32, size int) {
	t.Helper()
	log, err := os.ReadFile(s.path + walSuffix)
	if err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint32(log[12:]), len(log)
}

// TestLogBeginsAnew: commits that never pause do not keep the checkpointer from
// bringing the log to its end.
func TestLogBeginsAnew(t *testing.T) {
	t.Parallel()
	s, account := openWithAccount(t)
	before, _ := beginnings(t, s)
	for range 5 * shortLog {
		update(t, s, account.Username, perCommit)
		if frames, _ := s.db.checkpoints.index.size(); s.db.checkpoints.begun > frames {
			t.Fatalf("the log has %d pages, and is moved when it has grown from %d", frames, s.db.checkpoints.begun)
		}
	}
	if after, size := beginnings(t, s); after < before+2 {
		t.Errorf("after %d updates the log was begun %d times and has %d octets", 5*perLog, after-before, size)
	}
}

// TestLogIsAPartOfTheDatabase: by the size of that, which the index of the log tells
// with its own.
func TestLogIsAPartOfTheDatabase(t *testing.T) {
	t.Parallel()
	c := &checkpointer{least: leastLog}
	for _, test := range []struct{ pages, limit int }{{3, 1000}, {4000, 1000}, {40_000, 10_000}, {80_000, 16_000}} {
		if got := c.limit(test.pages); got != test.limit {
			t.Errorf("database of %d pages: the log is moved after %d, want %d", test.pages, got, test.limit)
		}
	}
	s, account := openWithAccount(t)
	update(t, s, account.Username, 3*perCommit)
	var wantPages int
	if err := s.db.conn.QueryRowContext(t.Context(), `PRAGMA page_count`).Scan(&wantPages); err != nil {
		t.Fatal(err)
	}
	// What is in the log is in order up to its last frame, and nothing is behind that.
	frames, pages := s.db.checkpoints.index.size()
	log, err := os.ReadFile(s.path + walSuffix)
	if err != nil {
		t.Fatal(err)
	}
	const header, frame = 32, 24 + 4096 // sqlite.org/fileformat2.html#walformat
	end := header + frames*frame
	if isZero(log[end-frame:end]) || !isZero(log[end:]) || pages != wantPages {
		t.Errorf("the log has %d pages in %d octets, the database %d pages, want %d", frames, len(log), pages, wantPages)
	}
}

// TestLogHasRoom: commits overwrite zeros, and do not make the file longer.
func TestLogHasRoom(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "cnamed.db"))
	size := func() int64 {
		info, err := os.Stat(s.path + walSuffix)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before, want := size(), int64(leastLog)*pageSize
	addAccounts(t, s, 1000)
	if after := size(); before < want || after != before {
		t.Errorf("the log has %d octets at first and %d with a thousand accounts, want %d at least", before, after, want)
	}
}

// TestReaderKeepsTheLog: who reads for long keeps the log from beginning anew, and
// no longer than that.
func TestReaderKeepsTheLog(t *testing.T) {
	t.Parallel()
	s, account := openWithAccount(t)
	reader, err := openRaw(s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.close()
	exec := func(text string) {
		if err := reader.exec(text); err != nil {
			t.Fatal(err)
		}
	}
	exec(`BEGIN`)
	exec(`SELECT count(*) FROM accounts`)
	before, _ := beginnings(t, s)
	update(t, s, account.Username, 3*perLog)
	if after, _ := beginnings(t, s); after != before {
		t.Fatalf("the log was begun %d times under a reader", after-before)
	}
	exec(`COMMIT`)
	update(t, s, account.Username, 3*perLog)
	if after, size := beginnings(t, s); after == before {
		t.Errorf("after the reader the log was not begun anew, and has %d octets", size)
	}
}

// failingDisk is a store whose disk fails to take pages of the database, once, and
// whose system forgets them, as it may. The log has them.
type failingDisk struct {
	*testing.T
	*Store
	account      registry.Account
	acknowledged int
	failed       chan struct{}
}

func newFailingDisk(t *testing.T) *failingDisk {
	d := &failingDisk{T: t, failed: make(chan struct{})}
	d.Store, d.account = openWithAccount(t)
	// To close a descriptor of the file would drop the locks of SQLite.
	file, err := os.OpenFile(d.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	size := func() int64 {
		info, err := file.Stat()
		if err != nil {
			t.Error(err)
			return 0
		}
		return info.Size()
	}
	var onDisk []byte
	c := d.db.checkpoints
	var begun uint32 // the log, when that was on the disk
	look := func() {
		onDisk = make([]byte, size())
		if _, err := file.ReadAt(onDisk, 0); err != nil {
			t.Error(err)
		}
		begun, _ = beginnings(t, d.Store)
	}
	look()
	// The flush below waits for the committer, who must not wait for it.
	c.least = 5 * shortLog
	c.passing.Lock()
	defer c.passing.Unlock()
	c.flush = func() error {
		// The system keeps the pages for a transaction that is under way.
		d.mu.Lock()
		// Where no commit came meanwhile everything was moved, and SQLite itself has
		// flushed it. The next time, then.
		frames, _ := c.index.size()
		if now, _ := beginnings(t, d.Store); now != begun || int(atomic.LoadUint32(&c.index.moved)) == frames {
			defer d.mu.Unlock()
			err := c.conn.flush()
			look()
			return err
		}
		c.flush = c.conn.flush
		go func() {
			defer d.mu.Unlock()
			for c.failures.Load() < 2 {
				runtime.Gosched()
			}
		}()
		forgotten := make([]byte, size())
		copy(forgotten, onDisk)
		if _, err := file.WriteAt(forgotten, 0); err != nil {
			t.Error(err)
		}
		close(d.failed)
		return &rawError{result: lib.SQLITE_IOERR_FSYNC, text: "disk I/O error"}
	}
	return d
}

// put commits values until the disk has failed, and n more.
func (d *failingDisk) put(n int) {
	d.Helper()
	for n > 0 {
		select {
		case <-d.failed:
			n -= perCommit
		default:
		}
		var batch []registry.Mutation
		for i := range perCommit {
			v := registry.Value{TXT: fmt.Sprintf("%043d", d.acknowledged+i), At: time.Unix(1700000000, 0)}
			batch = append(batch, registry.PutValue{Username: d.account.Username, Value: v})
		}
		if _, err := d.Commit(d.Context(), batch); err != nil {
			d.Fatal(err)
		}
		d.acknowledged += perCommit
	}
}

func (d *failingDisk) wantAll(s *Store) {
	d.Helper()
	values := 0
	if _, err := s.Load(d.Context(), func(e *registry.Entry) error { values += len(e.Values); return nil }); err != nil {
		d.Fatal(err)
	}
	if values != d.acknowledged {
		d.Errorf("%d values, %d were acknowledged", values, d.acknowledged)
	}
}

// TestFailedFlushLosesNothing: what was moved and not flushed is moved again before
// the log begins anew.
func TestFailedFlushLosesNothing(t *testing.T) {
	t.Parallel()
	d := newFailingDisk(t)
	before, _ := beginnings(t, d.Store)
	d.put(5 * 5 * perLog)
	if after, _ := beginnings(t, d.Store); after == before {
		t.Error("the log was not begun anew")
	}
	d.wantAll(d.Store)
}

// TestStoreEndsWithAFailedFlush: what the next one finds is complete.
func TestStoreEndsWithAFailedFlush(t *testing.T) {
	t.Parallel()
	d := newFailingDisk(t)
	d.put(1)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d.wantAll(open(t, d.path))
}

// TestPanicInATransactionIsRecovered: the write lock does not stay with who is gone.
func TestPanicInATransactionIsRecovered(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "cnamed.db"))
	func() {
		defer func() { _ = recover() }()
		_, _ = s.transact(t.Context(), func(context.Context) (registry.Committed, error) { panic("broken") })
	}()
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.Probe{At: time.Unix(1700000000, 0)}}); err == nil {
		t.Error("nothing is in doubt")
	}
	if reload, err := s.Recover(t.Context()); err != nil || !reload {
		t.Fatalf("reload %v, %v", reload, err)
	}
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: newAccount()}}); err != nil {
		t.Error(err)
	}
}

// goroutine returns the stack of the one that was started by a function.
func goroutine(startedBy string) string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "created by cnamed/registry/"+startedBy) {
			return stack
		}
	}
	return ""
}

// TestSlowFlushBoundsTheLog: commits that come faster than the disk takes pages do
// not let the log grow without end.
func TestSlowFlushBoundsTheLog(t *testing.T) {
	t.Parallel()
	s, account := openWithAccount(t)
	flushing, release := make(chan struct{}), make(chan struct{})
	s.db.checkpoints.passing.Lock()
	s.db.checkpoints.flush = func() error {
		select {
		case flushing <- struct{}{}:
			<-release
		case <-release:
		}
		return nil
	}
	s.db.checkpoints.passing.Unlock()
	before, _ := beginnings(t, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		update(t, s, account.Username, (maxBehind+3)*perLog)
	}()
	<-flushing
	for waits := false; !waits; runtime.Gosched() {
		select {
		case <-done:
			t.Error("no commit waits for the checkpointer")
			waits = true
		default:
			waits = strings.Contains(goroutine("sqlite.TestSlowFlushBoundsTheLog in"), "(*checkpointer).move")
		}
	}
	close(release)
	<-done
	if after, size := beginnings(t, s); after == before {
		t.Errorf("the log was not begun anew, and has %d octets", size)
	}
}

// TestTransactionOfBeforeAFailureFails: it may have read what is forgotten.
func TestTransactionOfBeforeAFailureFails(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "cnamed.db"))
	_, err := s.transact(t.Context(), func(ctx context.Context) (registry.Committed, error) {
		s.db.checkpoints.move(func() error { return errGone })
		return s.db.write(ctx, []registry.Mutation{registry.CreateAccount{Account: newAccount()}})
	})
	if !errors.Is(err, errMovedMeanwhile) {
		t.Error(err)
	}
	if accounts, _, _ := content(t, s); accounts != 0 {
		t.Errorf("%d accounts", accounts)
	}
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: newAccount()}}); err != nil {
		t.Error(err)
	}
}
