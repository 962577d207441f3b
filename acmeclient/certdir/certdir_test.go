package certdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"cnamed/acmeclient/certdir/durable"
)

// set returns files that can be told from those of another number, and that show a mixture.
func set(n int) Files {
	text := func(kind string) []byte { return fmt.Appendf(nil, "%s %d\n", kind, n) }
	return Files{text("cert"), text("chain"), text("fullchain"), text("privkey"), text("renewal")}
}

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "a", "certs"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func save(t *testing.T, d *Dir, name string, n int) {
	t.Helper()
	if _, err := d.Save(name, set(n)); err != nil {
		t.Fatal(err)
	}
}

// number returns which set the certificate is, by Load and by the paths under live. A mixture fails the test.
func number(t *testing.T, d *Dir, name string) int {
	t.Helper()
	loaded, err := d.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(string(loaded.Cert), "cert %d", &n); err != nil {
		t.Fatal(err)
	}
	want := set(n)
	for i, m := range loaded.members() {
		wanted := *want.members()[i].data
		if !bytes.Equal(*m.data, wanted) {
			t.Fatalf("Load: %s is %q in set %d", m.name, *m.data, n)
		}
		if got, err := os.ReadFile(filepath.Join(d.live(), name, m.name)); err != nil || !bytes.Equal(got, wanted) {
			t.Fatalf("live: %s is %q (%v) in set %d", m.name, got, err, n)
		}
	}
	return n
}

func TestSaveThenLoad(t *testing.T) {
	t.Parallel()
	d := open(t)
	paths, err := d.Save("example.com", set(1))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(d.Path(), "live", "example.com", "privkey.pem"); paths.PrivKey != want {
		t.Errorf("key at %s, want %s", paths.PrivKey, want)
	}
	again, err := Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	if n := number(t, again, "example.com"); n != 1 {
		t.Errorf("loaded set %d", n)
	}
	save(t, again, "example.com", 2)
	if n := number(t, d, "example.com"); n != 2 {
		t.Errorf("loaded set %d after the second", n)
	}
}

func TestEmptyChainIsAllowedAndEmptyKeyIsNot(t *testing.T) {
	t.Parallel()
	d := open(t)
	files := set(1)
	files.Chain = nil
	if _, err := d.Save("example.com", files); err != nil {
		t.Error(err)
	}
	files.PrivKey = nil
	if _, err := d.Save("example.com", files); !errors.Is(err, errIncomplete) {
		t.Errorf("saved without key: %v", err)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("windows has no modes")
	}
	d := open(t)
	if err := os.Chmod(d.live(), 0o755); err != nil { // as an administrator may
		t.Fatal(err)
	}
	save(t, d, "example.com", 1)
	if _, err := Open(d.Path()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		"live":                            0o755,
		"archive":                         0o700,
		"archive/example.com":             0o755,
		"archive/example.com/1":           0o755,
		"live/example.com/privkey.pem":    0o600,
		"live/example.com/renewal.json":   0o600,
		"live/example.com/cert.pem":       0o644,
		"live/example.com/chain.pem":      0o644,
		"live/example.com/fullchain.pem":  0o644,
		"archive/example.com/1/chain.pem": 0o644,
	} {
		info, err := os.Stat(filepath.Join(d.Path(), path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s is %v, want %v", path, info.Mode().Perm(), want)
		}
	}
}

func TestLiveIsARelativeLink(t *testing.T) {
	t.Parallel()
	d := open(t)
	if !d.links {
		t.Skip("no links on this system")
	}
	save(t, d, "example.com", 1)
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(d.Path(), moved); err != nil {
		t.Fatal(err)
	}
	d2, err := Open(moved)
	if err != nil {
		t.Fatal(err)
	}
	number(t, d2, "example.com")
}

// errCrash is what the hook panics with: nothing of Save runs after it, as after a kill.
var errCrash = errors.New("crash")

// steps returns the steps of a Save over an existing set.
func steps(t *testing.T, links bool) []string {
	t.Helper()
	d := open(t)
	d.links = links
	save(t, d, "example.com", 1)
	var steps []string
	d.before = func(step string) error { steps = append(steps, step); return nil }
	save(t, d, "example.com", 2)
	return steps
}

func TestEverythingIsFlushedBeforeItIsPointedAt(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no links on this system")
	}
	want := []string{"make folder", "write privkey.pem", "write cert.pem", "write chain.pem", "write fullchain.pem",
		"write renewal.json", "flush folder", "name version", "flush versions", "make link", "switch", "flush live"}
	if got := steps(t, true); !slices.Equal(got, want) {
		t.Errorf("steps %q", got)
	}
}

func TestCrashAtAnyStepLeavesOneWholeSet(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no links on this system")
	}
	switched := false
	for i, step := range steps(t, true) {
		d := open(t)
		save(t, d, "example.com", 1)
		at := 0
		d.before = func(string) error {
			if at == i {
				panic(errCrash)
			}
			at++
			return nil
		}
		func() {
			defer func() {
				if r := recover(); r != errCrash {
					t.Fatalf("no crash at %q: %v", step, r)
				}
			}()
			_, _ = d.Save("example.com", set(2))
		}()
		d.before = func(string) error { return nil }
		want := 1
		if switched {
			want = 2
		}
		if n := number(t, d, "example.com"); n != want {
			t.Errorf("after a crash before %q: set %d, want %d", step, n, want)
		}
		switched = switched || step == "switch"

		// The system releases the locks of a process that died. This one lives on, so it starts with a new lock file.
		if err := os.Remove(filepath.Join(d.archive(""), ".lock")); err != nil {
			t.Fatal(err)
		}
		save(t, d, "example.com", 3)
		if n := number(t, d, "example.com"); n != 3 {
			t.Errorf("after a crash before %q and another Save: set %d", step, n)
		}
		noLeftovers(t, d)
	}
	if !switched {
		t.Error("the steps have no switch")
	}
}

func noLeftovers(t *testing.T, d *Dir) {
	t.Helper()
	err := filepath.WalkDir(d.Path(), func(path string, entry fs.DirEntry, err error) error {
		if strings.HasPrefix(entry.Name(), tmpPrefix) {
			t.Errorf("left over: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestErrorAtAnyStepLeavesTheOldSetAndNoRubbish(t *testing.T) {
	t.Parallel()
	for _, links := range []bool{true, false} {
		for _, step := range steps(t, links) {
			d := open(t)
			d.links = links
			save(t, d, "example.com", 1)
			fault := &fs.PathError{Op: "write", Path: "x", Err: errors.New("no space left on device")}
			d.before = func(s string) error {
				if s == step {
					return fault
				}
				return nil
			}
			_, err := d.Save("example.com", set(2))
			if step == "prune" {
				continue
			}
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, fault) || !strings.Contains(err.Error(), "example.com: ") {
				t.Errorf("at %q: error %v", step, err)
			}
			noLeftovers(t, d)
			if strings.HasPrefix(step, "copy") || step == "flush live" {
				continue // documented: live may be a mixture without links, and new if its flush failed
			}
			if n := number(t, d, "example.com"); n != 1 {
				t.Errorf("at %q (links %v): set %d", step, links, n)
			}
			if versions, err := d.versions("example.com"); err != nil || len(versions) != 1 {
				t.Errorf("at %q (links %v): versions %v %v", step, links, versions, err)
			}
		}
	}
}

func TestCopiesServeWhereThereAreNoLinks(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.links = false
	for n := 1; n <= 5; n++ {
		save(t, d, "example.com", n)
		if got := number(t, d, "example.com"); got != n {
			t.Errorf("set %d after Save of %d", got, n)
		}
	}
}

func TestOldVersionsArePruned(t *testing.T) {
	t.Parallel()
	d := open(t)
	for n := 1; n <= Keep+2; n++ {
		save(t, d, "example.com", n)
	}
	versions, err := d.versions("example.com")
	if err != nil || !slices.Equal(versions, []int{3, 4, 5}) {
		t.Errorf("versions %v, %v", versions, err)
	}
	if n := number(t, d, "example.com"); n != Keep+2 {
		t.Errorf("set %d", n)
	}
}

func TestReadersNeverSeeAMixture(t *testing.T) {
	t.Parallel()
	d := open(t)
	save(t, d, "example.com", 0)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				files, err := d.Load("example.com")
				if err != nil {
					t.Errorf("Load during Save: %v", err)
					return
				}
				if bytes.Fields(files.Cert)[1][0] != bytes.Fields(files.PrivKey)[1][0] {
					t.Errorf("a mixture: %q and %q", files.Cert, files.PrivKey)
					return
				}
			}
		})
	}
	for n := range 30 {
		save(t, d, "example.com", n%10)
	}
	close(done)
	wg.Wait()
}

func TestLoadGoesOnWithANewerVersionWhenItsOwnIsPruned(t *testing.T) {
	t.Parallel()
	d := open(t)
	save(t, d, "example.com", 0)
	other, err := Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	d.before = func(string) error {
		for ; n <= Keep; n++ { // once: after it, the version that Load has chosen is gone
			save(t, other, "example.com", n)
		}
		return nil
	}
	files, err := d.Load("example.com")
	if want := string(set(Keep).Cert); err != nil || string(files.Cert) != want {
		t.Errorf("%q, %v", files.Cert, err)
	}
}

func TestConcurrentSavesAllSucceed(t *testing.T) {
	t.Parallel()
	d := open(t)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			if _, err := d.Save("example.com", set(n)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	number(t, d, "example.com")
	if versions, _ := d.versions("example.com"); !slices.Equal(versions, []int{6, 7, 8}) {
		t.Errorf("versions %v", versions)
	}
}

func TestForeignFolderIsNotTouched(t *testing.T) {
	t.Parallel()
	d := open(t)
	theirs := filepath.Join(d.live(), "example.com")
	if err := os.Mkdir(theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := d.Save("example.com", set(1))
	var e *Error
	if !errors.As(err, &e) || e.Hint() == "" {
		t.Errorf("error %v", err)
	}
	if info, err := os.Lstat(theirs); err != nil || !info.IsDir() {
		t.Errorf("their folder: %v, %v", info, err)
	}
}

func TestListIsInOrderAndKeepsBrokenOnes(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, name := range []string{"b.example", "a.example", "c.example"} {
		save(t, d, name, 1)
	}
	if err := os.RemoveAll(d.archive("b.example")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.live(), "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	names, err := d.List()
	if err != nil || !slices.Equal(names, []string{"a.example", "b.example", "c.example"}) {
		t.Errorf("names %v, %v", names, err)
	}
	if _, err := d.Load("b.example"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loading a broken one: %v", err)
	}
	if _, err := d.Load("none.example"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loading none: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for domain, want := range map[string]string{
		"example.com": "example.com", "*.Example.COM.": "example.com", "xn--bcher-kva.example": "xn--bcher-kva.example",
	} {
		if got, err := Name(domain); err != nil || got != want {
			t.Errorf("Name(%q) = %q, %v", domain, got, err)
		}
	}
	d := open(t)
	save(t, d, strings.Repeat("a", 253), 1)
	for _, name := range []string{"", ".", "..", "../x", "a/b", `a\b`, "/etc", ".hidden", "-rf", "a..b", "a.", "a\x00b", "A",
		"bücher.example", "*.example.com", "a b", "a:b", strings.Repeat("a", 254)} {
		var e *NameError
		if _, err := d.Save(name, set(1)); !errors.As(err, &e) {
			t.Errorf("saved as %q: %v", name, err)
		}
		if _, err := d.Load(name); !errors.As(err, &e) {
			t.Errorf("loaded %q: %v", name, err)
		}
	}
}

func TestLockSaysWhoHoldsIt(t *testing.T) {
	t.Parallel()
	d := open(t)
	lock, err := d.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	save(t, d, "example.com", 1) // must not wait for the lock that we hold
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var locked *durable.LockedError
	if _, err := d.Lock(ctx); !errors.As(err, &locked) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("error %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := d.Lock(ctx)
	if err != nil {
		t.Fatalf("a free lock with an ended context: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := Open(path); !errors.As(err, &e) || e.Hint() == "" {
		t.Errorf("error %v", err)
	}
	if _, err := Open(filepath.Join(path, "below")); err == nil {
		t.Error("opened a folder below a file")
	}
}
