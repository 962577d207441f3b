package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cnamed/registry"
)

// backUp copies a database, which may be open, to a new file.
func backUp(t *testing.T, path string) (file string, info Info) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "backup.db")
	if err := makeFile(file); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	info, err = r.CopyTo(t.Context(), file, nil)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return file, info
}

func TestBackupOfAnOpenDatabaseIsRestored(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	backedUp := addAccounts(t, s, 10)
	file, info := backUp(t, path)
	if info.Schema != len(migrations) || info.Accounts != 10 || info.Serial != backedUp {
		t.Errorf("the backup is %+v, of serial %d", info, backedUp)
	}
	if got := names(t, file); !slices.Equal(got, []string{"backup.db"}) {
		t.Errorf("beside the backup are %q", got)
	}
	newest := addAccounts(t, s, 7)

	if _, err := Restore(t.Context(), path, file, moment); !errors.Is(err, ErrInUse) {
		t.Errorf("a restore under a server: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	done, err := Restore(t.Context(), path, file, moment)
	if err != nil {
		t.Fatal(err)
	}
	aside := path + ".replaced-20261124T022933Z"
	if done.Aside != aside || done.Unreadable || done.Accounts != 10 || done.Serial < newest+1 || done.Serial < uint64(moment.Unix()) {
		t.Errorf("done %+v, after serial %d", done, newest)
	}
	if got := names(t, path); !slices.Equal(got, []string{"cnamed.db", "cnamed.db-lock", filepath.Base(aside)}) {
		t.Errorf("there are %q", got)
	}
	s = open(t, path)
	accounts, values, state := content(t, s)
	if accounts != 10 || values != 10 || state.Serial != done.Serial {
		t.Errorf("%d accounts, %d values, serial %d; want serial %d", accounts, values, state.Serial, done.Serial)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// The way back, in the same second.
	undone, err := Restore(t.Context(), path, aside, moment)
	if err != nil || undone.Aside != aside+"-2" || undone.Accounts != 17 || undone.Serial <= done.Serial {
		t.Errorf("undone %+v, %v", undone, err)
	}
}

// A server that was killed left its log behind: what is in it belongs to the
// database that is put aside, and to no other.
func TestRestoreAfterAKillKeepsTheLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	addAccounts(t, s, 3)
	file, _ := backUp(t, path)
	addAccounts(t, s, 4)
	killed := filepath.Join(t.TempDir(), "cnamed.db")
	for _, suffix := range []string{"", walSuffix} {
		data, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(killed+suffix, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	done, err := Restore(t.Context(), killed, file, moment)
	if err != nil || done.Unreadable {
		t.Fatalf("done %+v, %v", done, err)
	}
	if accounts, _, _ := content(t, open(t, killed)); accounts != 3 {
		t.Errorf("%d accounts are restored", accounts)
	}
	if info, err := Check(t.Context(), done.Aside); err != nil || info.Accounts != 7 {
		t.Errorf("put aside was %+v, %v", info, err)
	}
}

func TestRestoreReplacesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	file, _ := backUp(t, newDatabase(t, 3))
	for name, text := range map[string]string{"damaged": strings.Repeat("noise", 2000), "empty": ""} {
		path := filepath.Join(t.TempDir(), "cnamed.db")
		for _, suffix := range []string{"", walSuffix} {
			if err := os.WriteFile(path+suffix, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		done, err := Restore(t.Context(), path, file, moment)
		if err != nil || !done.Unreadable || done.Serial < uint64(moment.Unix()) {
			t.Fatalf("%s: done %+v, %v", name, done, err)
		}
		if accounts, _, _ := content(t, open(t, path)); accounts != 3 {
			t.Errorf("%s: %d accounts", name, accounts)
		}
		if kept, err := os.ReadFile(done.Aside); err != nil || string(kept) != text {
			t.Errorf("%s: the old file was not kept: %v", name, err)
		}
	}
	// Nothing is there but a log.
	path := filepath.Join(t.TempDir(), "cnamed.db")
	if err := os.WriteFile(path+walSuffix, []byte("log"), 0o600); err != nil {
		t.Fatal(err)
	}
	done, err := Restore(t.Context(), path, file, moment)
	if err != nil || done.Aside != "" {
		t.Errorf("done %+v, %v", done, err)
	}
	if accounts, _, _ := content(t, open(t, path)); accounts != 3 {
		t.Errorf("%d accounts", accounts)
	}
	if log, err := os.ReadFile(done.AsideLog); err != nil || string(log) != "log" {
		t.Errorf("the log was not kept: %v", err)
	}
}

// A log with damage before its end is kept as it is: what is behind the damage may
// be of use to somebody.
func TestRestoreKeepsADamagedLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	for range 5 {
		addAccounts(t, s, 1)
	}
	file, _ := backUp(t, path)
	killed := filepath.Join(t.TempDir(), "cnamed.db")
	var log []byte
	for _, suffix := range []string{"", walSuffix} {
		data, err := os.ReadFile(path + suffix)
		if suffix == walSuffix && err == nil {
			data[logHeaderSize+frameHeaderSize+100] ^= 1
			log = data
		}
		if err == nil {
			err = os.WriteFile(killed+suffix, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	done, err := Restore(t.Context(), killed, file, moment)
	if err != nil || !done.Unreadable {
		t.Fatalf("done %+v, %v", done, err)
	}
	if kept, err := os.ReadFile(done.AsideLog); err != nil || string(kept) != string(log) {
		t.Errorf("the log was not kept: %v", err)
	}
	if accounts, _, _ := content(t, open(t, killed)); accounts != 5 {
		t.Errorf("%d accounts", accounts)
	}
	// Who puts both back has what was there, and is told of the damage as before.
	undone := filepath.Join(t.TempDir(), "cnamed.db")
	must(t, os.Rename(done.Aside, undone))
	must(t, os.Rename(done.AsideLog, undone+walSuffix))
	wantRefused(t, undone, "its log was changed")
}

func TestBadBackupsAreRefused(t *testing.T) {
	t.Parallel()
	file, _ := backUp(t, newDatabase(t, 500))
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for name, test := range map[string]struct {
		make func(path string) error
		want string
	}{
		"text":      {func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("text\n", 500)), 0o600) }, "not a cnamed database"},
		"empty":     {func(p string) error { return os.WriteFile(p, nil, 0o600) }, "is empty"},
		"truncated": {func(p string) error { return os.WriteFile(p, whole[:len(whole)-3*page], 0o600) }, ""},
		"torn":      {func(p string) error { return os.WriteFile(p, whole[:len(whole)-page/2], 0o600) }, ""},
		"noise": {func(p string) error {
			b := slices.Clone(whole)
			copy(b[5*page:], strings.Repeat("noise", 500))
			return os.WriteFile(p, b, 0o600)
		}, "damaged"},
		"folder": {func(p string) error { return os.Mkdir(p, 0o700) }, "is no file"},
		"absent": {func(string) error { return nil }, "no such file"},
		"with a log": {func(p string) error {
			return errors.Join(os.WriteFile(p, whole, 0o600), os.WriteFile(p+walSuffix, []byte("log"), 0o600))
		}, "is not complete"},
		"another program's": {func(p string) error {
			edit(t, p, `CREATE TABLE records (Username TEXT)`)
			return nil
		}, "not a cnamed database"},
		"newer": {func(p string) error {
			err := os.WriteFile(p, whole, 0o600)
			edit(t, p, fmt.Sprintf(`PRAGMA user_version = %d`, len(migrations)+1))
			return err
		}, "newer version of cnamed"},
		"a value of no account": {func(p string) error {
			err := os.WriteFile(p, whole, 0o600)
			edit(t, p, `DELETE FROM accounts WHERE username = (SELECT min(username) FROM accounts)`)
			return err
		}, "damaged"},
		"a value of no account that waits": {func(p string) error {
			err := os.WriteFile(p, whole, 0o600)
			edit(t, p, `UPDATE zone SET waiting = waiting + 1; INSERT INTO recent VALUES (9999, randomblob(16), 1, 'x', 1)`)
			return err
		}, "values of an account that is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newDatabase(t, 1)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := filepath.Join(t.TempDir(), "bad.db")
			if err := test.make(bad); err != nil {
				t.Fatal(err)
			}
			_, err = Restore(t.Context(), path, bad, moment)
			if wantHint(t, err, test.want); err == nil {
				t.Fatal("it was restored")
			}
			t.Log(err)
			after, err := os.ReadFile(path)
			if err != nil || string(after) != string(before) {
				t.Errorf("the database was changed, %v", err)
			}
			if got := names(t, path); !slices.Contains([]string{"cnamed.db", "cnamed.db cnamed.db-lock"}, strings.Join(got, " ")) {
				t.Errorf("there are %q", got)
			}
		})
	}
	path := newDatabase(t, 1)
	_, err = Restore(t.Context(), path, path, moment)
	wantHint(t, err, "is the database itself")
}

// Export, while the store is written, shows one moment.
func TestExportIsOfOneMoment(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	s := open(t, path)
	serial := addAccounts(t, s, 20)
	r, err := OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	err = r.Export(t.Context(), func(state registry.State) error {
		if state.Serial != serial {
			t.Errorf("serial %d, want %d", state.Serial, serial)
		}
		return nil
	}, func(*registry.Entry) error {
		n++
		addAccounts(t, s, 1)
		return nil
	})
	if err != nil || n != 20 {
		t.Errorf("%d accounts, %v", n, err)
	}
}
