package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	lib "modernc.org/sqlite/lib"

	"cnamed/registry"
)

// perCommit is less than checkpointAfter, so that there are commits at all times.
const perCommit = checkpointAfter / 50

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
	s := open(t, filepath.Join(t.TempDir(), "cnamed.db"))
	account := newAccount()
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: account}}); err != nil {
		t.Fatal(err)
	}
	before, _ := beginnings(t, s)
	update(t, s, account.Username, 5*checkpointAfter)
	if after, size := beginnings(t, s); after < before+2 {
		t.Errorf("after %d updates the log was begun %d times and has %d octets", 5*checkpointAfter, after-before, size)
	}
}

// TestReaderKeepsTheLog: who reads for long keeps the log from beginning anew, and
// no longer than that.
func TestReaderKeepsTheLog(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "cnamed.db"))
	account := newAccount()
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: account}}); err != nil {
		t.Fatal(err)
	}
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
	update(t, s, account.Username, 3*checkpointAfter)
	if after, _ := beginnings(t, s); after != before {
		t.Fatalf("the log was begun %d times under a reader", after-before)
	}
	exec(`COMMIT`)
	update(t, s, account.Username, 3*checkpointAfter)
	if after, size := beginnings(t, s); after == before {
		t.Errorf("after the reader the log was not begun anew, and has %d octets", size)
	}
}

// TestFailedFlushLosesNothing: the disk fails to take pages of the database, once,
// and the system forgets them, as it may. The log has them.
func TestFailedFlushLosesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	account := newAccount()
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: account}}); err != nil {
		t.Fatal(err)
	}
	onDisk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	resume := s.db.checkpoints.pause()
	s.db.checkpoints.flush = func() error {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		forgotten := make([]byte, info.Size())
		copy(forgotten, onDisk)
		if _, err := file.WriteAt(forgotten, 0); err != nil {
			return err
		}
		return &rawError{result: lib.SQLITE_IOERR_FSYNC, text: "disk I/O error"}
	}
	resume()

	acknowledged := 0
	put := func() error {
		var batch []registry.Mutation
		for i := range perCommit {
			v := registry.Value{TXT: fmt.Sprintf("%043d", acknowledged+i), At: time.Unix(1700000000, 0)}
			batch = append(batch, registry.PutValue{Username: account.Username, Value: v})
		}
		_, err := s.Commit(t.Context(), batch)
		if err == nil {
			acknowledged += perCommit
		}
		return err
	}
	wantAll := func() {
		t.Helper()
		values := 0
		if _, err := s.Load(t.Context(), func(e *registry.Entry) error { values += len(e.Values); return nil }); err != nil {
			t.Fatal(err)
		}
		if values != acknowledged {
			t.Fatalf("%d values, %d were acknowledged", values, acknowledged)
		}
	}
	for put() == nil {
		if acknowledged > 10*checkpointAfter {
			t.Fatal("the store goes on as if nothing had happened")
		}
	}
	if reload, err := s.Recover(t.Context()); err != nil || !reload {
		t.Fatalf("reload %v, %v", reload, err)
	}
	wantAll()
	for range 3 * checkpointAfter / perCommit {
		if err := put(); err != nil {
			t.Fatal(err)
		}
	}
	wantAll()
}

// TestStoreEndsWithAFailedFlush: what the next one finds is complete.
func TestStoreEndsWithAFailedFlush(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	account := newAccount()
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: account}}); err != nil {
		t.Fatal(err)
	}
	before, _ := beginnings(t, s)
	s.db.checkpoints.move(func() error { return &rawError{result: lib.SQLITE_IOERR_FSYNC} })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after, size := beginnings(t, s); after != before || size <= 32 {
		t.Errorf("the log was begun anew, and has %d octets", size)
	}
	if n, err := start(t, path); n != 1 || err != nil {
		t.Errorf("%d accounts, %v", n, err)
	}
}

// TestPanicInATransactionIsRecovered: the write lock does not stay with who is gone.
func TestPanicInATransactionIsRecovered(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "cnamed.db"))
	func() {
		defer func() { _ = recover() }()
		_, _ = s.transact(t.Context(), 1, func(context.Context) (registry.Committed, error) { panic("broken") })
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

// TestSlowFlushBoundsTheLog: commits that come faster than the disk takes pages do
// not let the log grow without end.
func TestSlowFlushBoundsTheLog(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "cnamed.db"))
	account := newAccount()
	if _, err := s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: account}}); err != nil {
		t.Fatal(err)
	}
	flushing, release := make(chan struct{}), make(chan struct{})
	resume := s.db.checkpoints.pause()
	s.db.checkpoints.flush = func() error {
		select {
		case flushing <- struct{}{}:
			<-release
		case <-release:
		}
		return nil
	}
	resume()
	before, _ := beginnings(t, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		update(t, s, account.Username, maxBehind+3*checkpointAfter)
	}()
	<-flushing
	select {
	case <-done:
		t.Error("no commit waits for the checkpointer")
	case release <- struct{}{}:
	}
	close(release)
	<-done
	if after, size := beginnings(t, s); after == before {
		t.Errorf("the log was not begun anew, and has %d octets", size)
	}
}
