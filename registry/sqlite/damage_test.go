package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cnamed/registry"
)

const pageSize = 4096

// sample returns the octets of a database with accounts, each with a value, and
// of its log if it was not closed.
func sample(t *testing.T, accounts int) (file, log []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	s.db.checkpoints.passing.Lock() // nothing leaves the log
	// Two batches, so that the log has two commits.
	for range 2 {
		var batch []registry.Mutation
		for range accounts / 2 {
			a := newAccount()
			batch = append(batch, registry.CreateAccount{Account: a},
				registry.PutValue{Username: a.Username, Value: registry.Value{TXT: txt('v'), At: time.Unix(1_800_000_000, 0)}})
		}
		if _, err := s.Commit(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if log, err = os.ReadFile(path + walSuffix); err != nil {
		t.Fatal(err)
	}
	if log == nil {
		t.Fatal("there is no log")
	}
	half, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.db.checkpoints.passing.Unlock()
	settleAll(t, s)
	if _, err := s.db.conn.ExecContext(t.Context(), `VACUUM`); err != nil { // no page is free
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if file, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(half, file) {
		t.Fatal("nothing is in the log")
	}
	return file, log
}

// start opens the database at path and reads it, as the server does.
func start(t *testing.T, path string) (accounts int, err error) {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	r, err := registry.Open(t.Context(), s, registry.Options{})
	if err != nil {
		return 0, err
	}
	return r.Len(), nil
}

// wantRefused checks that a start fails with a message that names the file, what is
// wrong and what to do, and that the file is as it was.
func wantRefused(t *testing.T, path, wrong string) {
	t.Helper()
	before, _ := os.ReadFile(path)
	n, err := start(t, path)
	if err == nil {
		t.Fatalf("a damaged database was opened, with %d accounts", n)
	}
	t.Log(err)
	wantHint(t, err, path)
	wantHint(t, err, wrong)
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && !strings.Contains(hinted.Hint(), "cnamed restore FILE") {
		t.Errorf("the hint is %q", hinted.Hint())
	}
	if after, _ := os.ReadFile(path); len(after) != len(before) {
		t.Errorf("the file has %d octets, and had %d", len(after), len(before))
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	t.Parallel()
	whole, _ := sample(t, 500)
	noise := make([]byte, pageSize)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	for name, test := range map[string]struct {
		damage func([]byte) []byte
		wrong  string
	}{
		"empty":            {func([]byte) []byte { return nil }, "the file is empty"},
		"truncated":        {func(b []byte) []byte { return b[:len(b)/2] }, ""},
		"torn page":        {func(b []byte) []byte { return b[:len(b)-pageSize/2] }, "cut short"},
		"header only":      {func(b []byte) []byte { return b[:100] }, ""},
		"half a header":    {func(b []byte) []byte { return b[:50] }, "cut short"},
		"zero pages":       {func(b []byte) []byte { clear(b[2*pageSize:]); return b }, "malformed"},
		"all zeros":        {func(b []byte) []byte { clear(b); return b }, "not a cnamed database"},
		"noise in a table": {func(b []byte) []byte { copy(b[3*pageSize:], noise); return b }, "malformed"},
		"noise in the middle": {func(b []byte) []byte {
			copy(b[len(b)/2/pageSize*pageSize:], noise)
			return b
		}, "malformed"},
		"noise at the end": {func(b []byte) []byte { copy(b[len(b)-pageSize:], noise); return b }, "malformed"},
		"schema gone":      {func(b []byte) []byte { clear(b[100:pageSize]); return b }, ""},
		"version gone":     {func(b []byte) []byte { clear(b[headerVersion : headerVersion+4]); return b }, "no schema"},
		"version negative": {func(b []byte) []byte { b[headerVersion] = 0xff; return b }, "schema -"},
		"text":             {func([]byte) []byte { return []byte(strings.Repeat("no database at all\n", 100)) }, "not a cnamed database"},
		"a word":           {func([]byte) []byte { return []byte("hello\n") }, "not a cnamed database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "cnamed.db")
			must(t, os.WriteFile(path, test.damage(bytes.Clone(whole)), 0o600))
			wantRefused(t, path, test.wrong)
		})
	}
}

func TestEmptyDatabaseOfSQLiteIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	edit(t, path, `CREATE TABLE t (x); DROP TABLE t; VACUUM`)
	wantRefused(t, path, "not a cnamed database")
}

// TestLogWithoutItsDatabaseIsRefused: SQLite would remove it and begin anew.
func TestLogWithoutItsDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	_, log := sample(t, 10)
	path := filepath.Join(t.TempDir(), "cnamed.db")
	must(t, os.WriteFile(path+walSuffix, log, 0o600))
	wantRefused(t, path, "its log is still there")
	if left, err := os.ReadFile(path + walSuffix); err != nil || !bytes.Equal(left, log) {
		t.Errorf("the log was changed: %v", err)
	}
}

// TestContentThatNobodyWroteIsRefused changes rows by SQL, so that all pages are in
// order.
func TestContentThatNobodyWroteIsRefused(t *testing.T) {
	t.Parallel()
	whole, _ := sample(t, 10)
	const anyAccount = `(SELECT username FROM accounts LIMIT 1)`
	for name, test := range map[string]struct{ sql, wrong string }{
		"short hash":        {`UPDATE accounts SET password_hash = x'00' WHERE username = ` + anyAccount, "the password hash of account"},
		"short username":    {`PRAGMA ignore_check_constraints = 1; UPDATE accounts SET username = x'0102' WHERE username = ` + anyAccount, "2 octets"},
		"long value":        {`UPDATE txt SET value = value || 'x' WHERE username = ` + anyAccount, "a value of account"},
		"odd value":         {`UPDATE txt SET value = replace(value, 'v', '"') WHERE username = ` + anyAccount, "a value of account"},
		"value of nobody":   {`INSERT INTO txt VALUES (randomblob(16), 'x', 1, 1)`, "an account that is not there"},
		"value of the last": {`INSERT INTO txt VALUES (x'ffffffffffffffffffffffffffffffff', 'x', 1, 1)`, "an account that is not there"},
		"long change":       {fmt.Sprintf(`UPDATE zone SET waiting = 1; INSERT INTO recent SELECT 9999, username, 1, '%044d', 1 FROM accounts LIMIT 1`, 1), "a value of account"},
		"odd change":        {`PRAGMA ignore_check_constraints = 1; INSERT INTO recent SELECT 9999, username, 5, 'x', 1 FROM accounts LIMIT 1`, "a recent change with a kind"},
		"negative change":   {`INSERT INTO recent SELECT -1, username, 1, 'x', 1 FROM accounts LIMIT 1`, "a recent change with a seq"},
		"change gone":       {`UPDATE zone SET waiting = 1`, "0 rows wait, and the zone has 1"},
		"values that wait, of no account": {`UPDATE zone SET waiting = 1; INSERT INTO recent VALUES (9999, randomblob(16), 1, 'x', 1)`,
			"values of an account that is not there"},
		"newcomer twice": {`INSERT INTO newcomers SELECT 9998, * FROM accounts LIMIT 1; INSERT INTO newcomers SELECT 9999, * FROM accounts LIMIT 1`,
			"is created twice"},
		"short newcomer": {`UPDATE zone SET waiting = 1; INSERT INTO newcomers SELECT 9999, randomblob(16), x'00', 'n', '[]', 1, '', 0, 0`,
			"the password hash of account"},
		"no zone":         {`DELETE FROM zone`, "the row of the zone"},
		"own challenge":   {`UPDATE zone SET challenges = '["'`, "own challenge"},
		"negative serial": {`UPDATE zone SET serial = -1`, "the row of the zone"},
		"short token": {`PRAGMA ignore_check_constraints = 1; INSERT INTO tokens VALUES ('i', x'00', '', 1, 1, 1, 0, NULL)`,
			"a token with a hash"},
		"table gone": {`PRAGMA foreign_keys = 0; DROP TABLE retired`, "no such table"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "cnamed.db")
			must(t, os.WriteFile(path, whole, 0o600))
			edit(t, path, test.sql)
			wantRefused(t, path, test.wrong)
		})
	}
}

// TestDamagedLogIsRefused: SQLite would leave out what is behind the damage, which
// was acknowledged. Only within the last commit it may have been a loss of power.
func TestDamagedLogIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	must(t, open(t, path).Close())
	empty, err := os.ReadFile(path)
	must(t, err)
	const commits = 20
	s := open(t, path)
	var ends []int // of the log after each commit, one account each
	for range commits {
		_, err := s.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: newAccount()}})
		must(t, err)
		frames, _ := s.db.checkpoints.index.size()
		ends = append(ends, logHeaderSize+frames*(frameHeaderSize+pageSize))
	}
	log, err := os.ReadFile(path + walSuffix)
	must(t, err)
	log = log[:ends[commits-1]] // room is behind that
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		at := random.IntN(len(log))
		path := filepath.Join(t.TempDir(), "cnamed.db")
		must(t, os.WriteFile(path, empty, 0o600))
		damaged := bytes.Clone(log)
		damaged[at] ^= byte(1 + random.IntN(255))
		must(t, os.WriteFile(path+walSuffix, damaged, 0o600))
		if at < ends[commits-4] {
			_, err := OpenReader(t.Context(), path) // which would remove it with the last connection
			if err == nil {
				t.Fatal("a backup would be made of it")
			}
			wantHint(t, err, "its log was changed")
			wantRefused(t, path, "its log was changed")
		} else if n, err := start(t, path); err == nil && n < commits-4 {
			t.Errorf("damage at %d of %d: %d accounts of %d", at, len(log), n, commits)
		}
	}
	// Who has the lock need not be a server that has found the log in order.
	inUse := filepath.Join(t.TempDir(), "cnamed.db")
	must(t, os.WriteFile(inUse, empty, 0o600))
	damaged := bytes.Clone(log)
	damaged[ends[3]] ^= 1
	must(t, os.WriteFile(inUse+walSuffix, damaged, 0o600))
	lock, err := lockFile(inUse + lockSuffix)
	must(t, err)
	_, err = OpenReader(t.Context(), inUse)
	if err == nil {
		t.Fatal("a backup would be made of it, while another process looks")
	}
	wantHint(t, err, "its log was changed")
	must(t, unlockFile(lock))
	if left, err := os.ReadFile(inUse + walSuffix); err != nil || !bytes.Equal(left, damaged) {
		t.Errorf("the log is not what it was: %v", err)
	}
	// A log that ends early is what a commit leaves that was cut short.
	for range 20 {
		at := random.IntN(len(log))
		path := filepath.Join(t.TempDir(), "cnamed.db")
		must(t, os.WriteFile(path, empty, 0o600))
		must(t, os.WriteFile(path+walSuffix, log[:at], 0o600))
		want, _ := slices.BinarySearch(ends, at+1)
		if n, err := start(t, path); err != nil || n != want {
			t.Errorf("a log of %d octets: %d accounts, %v; want %d", at, n, err, want)
		}
	}
}

// TestNoiseIsNoPanic changes octets anywhere. What SQLite cannot notice may pass, as
// a letter in a note; what is refused is refused with advice, and no account goes
// missing unnoticed. Neither does one in a database in which all of them wait, as those
// of a small server do.
func TestNoiseIsNoPanic(t *testing.T) {
	t.Parallel()
	const accounts = 200
	settled, _ := sample(t, accounts)
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	addAccounts(t, s, accounts)
	must(t, s.Close())
	waiting, err := os.ReadFile(path)
	must(t, err)
	for name, whole := range map[string][]byte{"settled": settled, "waiting": waiting} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			makeNoise(t, whole, accounts)
		})
	}
}

func makeNoise(t *testing.T, whole []byte, accounts int) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	path := filepath.Join(t.TempDir(), "cnamed.db")
	for range 200 {
		damaged := bytes.Clone(whole)
		for range 1 + random.IntN(20) {
			damaged[random.IntN(len(damaged))] = byte(random.Uint32())
		}
		if random.IntN(2) == 0 { // headers of pages and their cells are the worst place
			damaged[random.IntN(len(damaged)/pageSize)*pageSize+random.IntN(64)] = byte(random.Uint32())
		}
		must(t, os.WriteFile(path, damaged, 0o600))
		n, err := start(t, path)
		switch {
		case err != nil:
			refused++
			wantHint(t, err, path)
		case n != accounts:
			t.Errorf("%d accounts of %d, and no error; seed %d", n, accounts, seed)
		}
		for _, suffix := range []string{walSuffix, shmSuffix} {
			_ = os.Remove(path + suffix)
		}
	}
	t.Logf("%d of 200 were refused", refused)
}

// TestPageWithFewerRowsIsNoticed: SQLite believes the number of rows that a page
// says it has.
func TestPageWithFewerRowsIsNoticed(t *testing.T) {
	t.Parallel()
	const accounts, leaf = 200, 10 // the type of a page, file format §1.6
	whole, _ := sample(t, accounts)
	refused := 0
	for at := pageSize; at < len(whole); at += pageSize {
		if rows := binary.BigEndian.Uint16(whole[at+3:]); whole[at] != leaf || rows < 2 {
			continue
		}
		damaged := bytes.Clone(whole)
		damaged[at+4]--
		path := filepath.Join(t.TempDir(), "cnamed.db")
		must(t, os.WriteFile(path, damaged, 0o600))
		switch n, err := start(t, path); {
		case err != nil:
			refused++
			wantHint(t, err, path)
		case n != accounts:
			t.Errorf("%d accounts of %d, and no error", n, accounts)
		}
	}
	if refused < 3 {
		t.Errorf("%d pages were noticed", refused)
	}
}

// TestFirstStartIsAllOrNothing: a start that was cut short leaves no database, or
// one.
func TestFirstStartIsAllOrNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	for i, suffix := range []string{"", walSuffix, shmSuffix} {
		must(t, os.WriteFile(path+newSuffix+suffix, fmt.Appendf(nil, "left behind %d", i), 0o600))
	}
	if n, err := start(t, path); err != nil || n != 0 {
		t.Fatalf("%d accounts, %v", n, err)
	}
	left, err := filepath.Glob(path + newSuffix + "*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	info, err := os.Stat(path)
	must(t, err)
	must(t, checkHeader(path, info.Size()))
}
