package sqlite

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cnamed/registry"
)

// clock is a time that stands still until it is advanced.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rig is a registry on a real file, with one account.
type rig struct {
	*testing.T
	path  string
	store *Store
	reg   *registry.Registry
	clock *clock
	cred  registry.Credentials
}

func newRig(t *testing.T, dir string) *rig {
	r := &rig{T: t, path: filepath.Join(dir, "cnamed.db"), clock: &clock{now: time.Unix(1_800_000_000, 0)}}
	r.openAgain()
	var err error
	if r.cred, err = r.reg.Register(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) openAgain() {
	r.Helper()
	r.store = open(r.T, r.path)
	var err error
	if r.reg, err = registry.Open(r.Context(), r.store, registry.Options{Now: r.clock.Now}); err != nil {
		r.Fatal(err)
	}
}

func txt(b byte) string { return strings.Repeat(string(b), 43) }

func (r *rig) update(b byte) error {
	return r.reg.Update(context.Background(), registry.Update{Username: r.cred.Username.String(),
		Password: r.cred.Password.Reveal(), Subdomain: r.cred.Subdomain, TXT: txt(b)})
}

func (r *rig) mustUpdate(b byte) {
	r.Helper()
	if err := r.update(b); err != nil {
		r.Fatalf("update: %v", err)
	}
}

func (r *rig) wantServed(bytes ...byte) {
	r.Helper()
	var want []string
	for _, b := range bytes {
		want = append(want, txt(b))
	}
	got, exists, err := servedAt(r.reg, r.cred.Subdomain)
	if err != nil || !exists || !slices.Equal(got, want) {
		r.Errorf("served: %q, %v, %v; want %q", got, exists, err, want)
	}
}

// wantFailing checks that nothing is acknowledged, and DNS goes on.
func (r *rig) wantFailing(served ...byte) {
	r.Helper()
	if err := r.update('x'); !errors.Is(err, registry.ErrStore) {
		r.Errorf("update: %v, want ErrStore", err)
	}
	if _, err := r.reg.Register(r.Context(), nil); !errors.Is(err, registry.ErrStore) {
		r.Errorf("register: %v, want ErrStore", err)
	}
	if err := r.reg.Check(r.Context()); !errors.Is(err, registry.ErrStore) {
		r.Errorf("check: %v, want ErrStore", err)
	}
	r.wantServed(served...)
}

// wantWell lets the pause before a recovery pass, and checks that one write is
// enough.
func (r *rig) wantWell() {
	r.Helper()
	r.clock.Advance(time.Minute)
	if err := r.reg.Check(r.Context()); err != nil {
		r.Fatalf("it did not recover: %v", err)
	}
}

// wantDurable opens the file again and checks what it holds.
func (r *rig) wantDurable(served ...byte) {
	r.Helper()
	if err := r.reg.Close(); err != nil {
		r.Fatal(err)
	}
	r.openAgain()
	r.wantServed(served...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDeletedDatabaseIsWrittenAnew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		remove []string
	}{
		{"file", []string{""}},
		{"log", []string{walSuffix}},
		{"file and log", []string{"", walSuffix, shmSuffix}},
		{"log and index", []string{walSuffix, shmSuffix}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, t.TempDir())
			r.mustUpdate('a')
			r.mustUpdate('b')
			serial := r.reg.Serial()
			log, err := os.Stat(r.path + walSuffix)
			must(t, err)
			for _, suffix := range test.remove {
				must(t, os.Remove(r.path+suffix))
			}
			r.wantFailing('b', 'a')
			r.wantWell()
			wantAnotherLog(t, r.path, log)
			if r.reg.Serial() != serial || r.reg.Len() != 1 {
				t.Errorf("serial %d and %d accounts, want %d and 1", r.reg.Serial(), r.reg.Len(), serial)
			}
			r.mustUpdate('c')
			r.wantServed('c', 'b', 'a')
			r.wantDurable('c', 'b', 'a')
			left, err := filepath.Glob(r.path + "*" + rescueSuffix)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
}

// wantAnotherLog checks that the log of a lost file does not serve its
// successor: SQLite would write the pages of the one into the other.
func wantAnotherLog(t *testing.T, path string, old os.FileInfo) {
	t.Helper()
	now, err := os.Stat(path + walSuffix)
	must(t, err)
	if os.SameFile(now, old) {
		t.Error("the new database uses the log of the old one")
	}
}

func TestDeletedFolderIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	r := newRig(t, dir)
	r.mustUpdate('a')
	must(t, os.RemoveAll(dir))
	r.wantFailing('a')
	r.wantWell()
	r.mustUpdate('b')
	wantHint(t, openFails(t, r.path), "another process") // the lock was made anew too
	r.wantDurable('b', 'a')
}

func TestMovedDatabaseComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	r.mustUpdate('a')
	must(t, os.Rename(r.path, r.path+".away"))
	r.wantFailing('a')
	must(t, os.Rename(r.path+".away", r.path))
	r.mustUpdate('b') // at once
	must(t, r.reg.Check(t.Context()))
	r.wantDurable('b', 'a')
}

func TestReplacedDatabaseIsUsed(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	other := newRig(t, t.TempDir())
	other.mustUpdate('o')
	must(t, other.reg.Close())
	r.mustUpdate('a')
	r.mustUpdate('b')

	log, err := os.Stat(r.path + walSuffix)
	must(t, err)
	moved := filepath.Join(t.TempDir(), "moved.db")
	must(t, os.Rename(r.path, moved))
	must(t, os.Rename(other.path, r.path))
	r.wantFailing('b', 'a')
	r.wantWell()
	wantAnotherLog(t, r.path, log)

	if _, exists, _ := servedAt(r.reg, r.cred.Subdomain); exists {
		t.Error("an account of the old database is served")
	}
	if err := r.update('c'); !errors.Is(err, registry.ErrForbidden) {
		t.Errorf("update of an account of the old database: %v", err)
	}
	old := r.cred
	r.cred = other.cred
	r.wantServed('o')
	r.mustUpdate('p')
	r.wantDurable('p', 'o')

	// The old database has all that was acknowledged, without its log.
	away := &rig{T: t, path: moved, clock: r.clock, cred: old}
	away.openAgain()
	away.wantServed('b', 'a')
}

func TestForeignFileIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"text": strings.Repeat("not a database\n", 400), "empty": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, t.TempDir())
			r.mustUpdate('a')
			must(t, os.Remove(r.path))
			must(t, os.WriteFile(r.path, []byte(content), 0o600))
			for range 3 {
				r.wantFailing('a')
				r.clock.Advance(time.Minute)
			}
			if got, err := os.ReadFile(r.path); err != nil || string(got) != content {
				t.Errorf("the file was changed: %q, %v", got, err)
			}
			must(t, os.Remove(r.path))
			r.wantWell()
			r.mustUpdate('b')
			r.wantDurable('b', 'a')
		})
	}
}

func TestReadOnlyDatabaseFails(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", walSuffix} {
		r := newRig(t, t.TempDir())
		r.mustUpdate('a')
		must(t, os.Chmod(r.path+suffix, 0o400))
		r.wantFailing('a')
		r.clock.Advance(time.Minute)
		r.wantFailing('a')
		must(t, os.Chmod(r.path+suffix, 0o600))
		r.wantWell()
		r.mustUpdate('b')
		r.wantDurable('b', 'a')
	}
}

func TestTruncatedDatabaseFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	r.mustUpdate('a')
	must(t, os.Truncate(r.path, 100))
	r.wantFailing('a')
	r.clock.Advance(time.Minute)
	r.wantFailing('a')
}

// TestFullDatabaseRecovers limits the file as a full disk does, by SQLite's
// own bound, which works without privileges.
func TestFullDatabaseRecovers(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	r.mustUpdate('a')
	var pages int
	must(t, r.store.db.conn.QueryRowContext(t.Context(), `PRAGMA max_page_count = 1`).Scan(&pages))
	fill(r)
	served, _, _ := servedAt(r.reg, r.cred.Subdomain)
	_, err := r.reg.Register(t.Context(), slices.Repeat([]string{"192.0.2.0/24"}, 64))
	if !errors.Is(err, registry.ErrStore) {
		t.Fatalf("register: %v", err)
	}
	wantHint(t, err, "")
	if now, _, _ := servedAt(r.reg, r.cred.Subdomain); !slices.Equal(now, served) {
		t.Errorf("served %q, before %q", now, served)
	}
	r.wantWell() // a new connection, without the bound
	r.mustUpdate('b')
	r.wantDurable('b', 'a')
}

// fill registers until the database is full.
func fill(r *rig) {
	r.Helper()
	for range 100_000 {
		if _, err := r.reg.Register(r.Context(), slices.Repeat([]string{"192.0.2.0/24"}, 64)); err != nil {
			if !errors.Is(err, registry.ErrStore) {
				r.Fatal(err)
			}
			return
		}
	}
	r.Fatal("it never became full")
}

func TestFullDiskRecovers(t *testing.T) {
	t.Parallel()
	dir := mountSmall(t)
	r := newRig(t, dir)
	r.mustUpdate('a')
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	must(t, err)
	_, err = io.Copy(f, zeros{})
	if err == nil {
		t.Fatal("the disk never became full")
	}
	must(t, f.Close())
	fill(r)
	r.wantFailing('a')
	must(t, os.Remove(filler))
	r.wantWell()
	r.mustUpdate('b')
	r.wantDurable('b', 'a')
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestCommitToALostFileIsNotAcknowledged loses the file between the commit and
// the acknowledgement. The batch is in doubt: it must not be served until the
// registry knows that it is durable.
func TestCommitToALostFileIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	r.mustUpdate('a')
	r.store.committing = func() {
		r.store.committing = func() {}
		must(t, os.Rename(r.path, r.path+".away"))
	}
	if err := r.update('b'); !errors.Is(err, registry.ErrStore) {
		t.Fatalf("update: %v", err)
	}
	r.wantServed('a')
	must(t, os.Rename(r.path+".away", r.path))
	// The index lacks what the file holds: nothing may build on it yet.
	r.wantFailing('a')
	r.wantWell()
	r.wantServed('b', 'a')
	r.mustUpdate('c')
	r.wantDurable('c', 'b', 'a')
}

// TestFaultsUnderLoadLoseNothing deletes the file again and again while many
// update, and checks that every acknowledged value is there at the end.
func TestFaultsUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	const writers, faults = 8, 5
	r := newRig(t, t.TempDir())
	creds := make([]registry.Credentials, writers)
	for i := range creds {
		var err error
		creds[i], err = r.reg.Register(t.Context(), nil)
		must(t, err)
	}
	acked := make([]string, writers)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				value := strings.Repeat("-", 33) + time.Unix(int64(n), 0).UTC().Format("0102150405")
				err := r.reg.Update(context.Background(), registry.Update{Username: creds[i].Username.String(),
					Password: creds[i].Password.Reveal(), Subdomain: creds[i].Subdomain, TXT: value})
				if err == nil {
					acked[i] = value
				} else if !errors.Is(err, registry.ErrStore) {
					t.Error(err)
				}
			}
		})
	}
	for range faults {
		must(t, os.Remove(r.path))
		for r.reg.Check(t.Context()) == nil {
			r.clock.Advance(time.Second)
		}
		for r.reg.Check(t.Context()) != nil {
			r.clock.Advance(time.Minute)
		}
	}
	close(stop)
	wg.Wait()
	must(t, r.reg.Close())
	r.openAgain()
	for i, c := range creds {
		served, _, _ := servedAt(r.reg, c.Subdomain)
		// After its last acknowledged value a writer may have one that failed
		// and is durable all the same.
		if acked[i] != "" && !slices.Contains(served[:min(2, len(served))], acked[i]) {
			t.Errorf("writer %d: %q was acknowledged and is lost; there is %q", i, acked[i], served)
		}
	}
}

// servedAt returns what the registry serves at a label.
func servedAt(r *registry.Registry, label string) (values []string, exists bool, err error) {
	list, exists, err := r.AppendTXT(nil, []byte(label))
	for len(list) > 0 {
		end := 2 + int(list[0])<<8 + int(list[1])
		values = append(values, string(list[2:end]))
		list = list[end:]
	}
	return values, exists, err
}
