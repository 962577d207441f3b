package sqlite

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

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
