package test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"cnamed/registry"
	"cnamed/test/program"
)

// fixture is what a real acme-dns wrote, and a few edits.
const fixture = "../registry/acmedns/testdata"

// oldAccount is an account of the fixture.
type oldAccount struct {
	account
	Note   string
	Values []string
}

// locked says whether the account has no list of addresses any more.
func (a *oldAccount) locked() bool { return strings.Contains(a.Note, "NULL") }

func readFixture(t *testing.T) (all []oldAccount) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixture, "accounts.json"))
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// importedWorld is a folder in which acme-dns was, and its import.
type importedWorld struct{ folder string }

func (w *importedWorld) path(name string) string { return filepath.Join(w.folder, name) }

// importResult is what the command prints.
type importResult struct {
	Added          int
	AlreadyPresent int `json:"already_present"`
	LeftOut        int `json:"left_out"`
	Values         int
	Differing      []struct {
		Subdomain string
		In        []string
	}
	Findings []struct{ Kind, Subdomain string }
}

// newImport copies the fixture, with the database that connection leads to.
func newImport(t *testing.T, engine, connection string) *importedWorld {
	t.Helper()
	w := &importedWorld{t.TempDir()}
	config, err := os.ReadFile(filepath.Join(fixture, "config.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	config = bytes.Replace(config, []byte(`engine = "sqlite"`), []byte(`engine = "`+engine+`"`), 1)
	config = bytes.Replace(config, []byte(`connection = "acme-dns.db"`), []byte(`connection = "`+connection+`"`), 1)
	if err := os.WriteFile(w.path("config.cfg"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	if engine == "sqlite" {
		data, err := os.ReadFile(filepath.Join(fixture, connection))
		if err == nil {
			err = os.WriteFile(w.path(connection), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *importedWorld) run(ctx context.Context) (r importResult, stderr string, err error) {
	cmd := exec.CommandContext(ctx, binary, "import", "acme-dns", "--json",
		"--config", w.path("config.cfg"), "--data", w.path("data"), "--output", w.path("cnamed.toml"))
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		return r, talk.String(), err
	}
	return r, talk.String(), json.Unmarshal(out.Bytes(), &r)
}

func (w *importedWorld) mustRun(t *testing.T) importResult {
	t.Helper()
	r, stderr, err := w.run(testContext(t))
	if err != nil {
		t.Fatalf("importing: %v\n%s", err, stderr)
	}
	return r
}

// serve starts the server with the configuration that was written.
func (w *importedWorld) serve(t *testing.T) *program.Server {
	t.Helper()
	s, err := program.Start(testContext(t), binary, program.Options{},
		"--config", w.path("cnamed.toml"), "--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

// hashLengths returns the length of each account's password hash, from the file.
func (w *importedWorld) hashLengths(t *testing.T) map[string]int {
	t.Helper()
	lengths := map[string]int{}
	eachAccount(t, w.path("data/cnamed.db"), func(e *registry.Entry) { lengths[e.Subdomain] = len(e.PasswordHash) })
	return lengths
}

const bcryptLength, sha256Length = 60, 32

// check imports, and has every client of the old server go on: with the values
// that it has set, and with its old credentials.
func (w *importedWorld) check(t *testing.T, accounts []oldAccount, values bool) {
	ctx := testContext(t)
	if r := w.mustRun(t); r.Added != len(accounts) || r.AlreadyPresent != 0 || r.LeftOut != 0 || len(r.Differing) != 0 {
		t.Errorf("the import: %+v", r)
	}
	if r := w.mustRun(t); r.Added != 0 || r.AlreadyPresent != len(accounts) || len(r.Differing) != 0 {
		t.Errorf("the second import: %+v", r)
	}

	s := w.serve(t)
	if _, stderr, err := w.run(ctx); err == nil || !strings.Contains(stderr, "another process uses the database") || !strings.Contains(stderr, "cnamed: hint: stop the other server") {
		t.Errorf("an import into the database of a running server: %v\n%s", err, stderr)
	}
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	for i, a := range accounts {
		if values {
			got := mustValues(t, s, a.Subdomain)
			slices.Sort(got)
			if !slices.Equal(got, a.Values) {
				t.Errorf("%s: %q is served, want %q", a.Note, got, a.Values)
			}
		}
		want := http.StatusOK
		if a.locked() {
			want = http.StatusUnauthorized
		}
		for n := range 2 { // by bcrypt, and by what replaced it
			r, err := update(ctx, client, s.API[0], a.account, value(10*i+n))
			if err == nil {
				err = r.error(want)
			}
			if err != nil {
				t.Errorf("%s: login %d: %v", a.Note, n+1, err)
			}
		}
		wrong := a.account
		wrong.Password = strings.ToUpper(wrong.Password[:20]) + strings.ToLower(wrong.Password[20:])
		if r, err := update(ctx, client, s.API[0], wrong, value(99)); err != nil || r.status != http.StatusUnauthorized {
			t.Errorf("%s: a wrong password: %v, %v", a.Note, r, err)
		}
		if got := mustValues(t, s, a.Subdomain); !a.locked() && !slices.Contains(got, value(10*i+1)) {
			t.Errorf("%s: %q is served after the update", a.Note, got)
		}
	}
	stop(t, s)

	for subdomain, n := range w.hashLengths(t) {
		i := slices.IndexFunc(accounts, func(a oldAccount) bool { return a.Subdomain == subdomain })
		want := sha256Length
		if accounts[i].locked() {
			want = bcryptLength
		}
		if n != want {
			t.Errorf("%s: the hash has %d bytes after the logins, want %d", accounts[i].Note, n, want)
		}
	}

	// A late import brings back nothing old.
	for _, d := range w.mustRun(t).Differing {
		if !slices.Equal(d.In, []string{"values"}) {
			t.Errorf("%s differs in %q", d.Subdomain, d.In)
		}
	}
	s = w.serve(t)
	for i, a := range accounts {
		if r, err := update(ctx, client, s.API[0], a.account, value(10*i+2)); !a.locked() && (err != nil || r.status != http.StatusOK) {
			t.Errorf("%s: a login after the last import: %v, %v", a.Note, r, err)
		}
	}
}

func mustValues(t *testing.T, s *program.Server, label string) []string {
	t.Helper()
	got, err := values(testContext(t), s.DNS[0], label)
	if err != nil {
		t.Error(err)
	}
	return got
}

func TestAccountsOfAcmeDNSLogInAfterTheImport(t *testing.T) {
	t.Parallel()
	newImport(t, "sqlite", "acme-dns.db").check(t, readFixture(t), true)
}

func TestAccountsOfAnOldAcmeDNSLogInAfterTheImport(t *testing.T) {
	t.Parallel()
	newImport(t, "sqlite", "acme-dns-v0.db").check(t, readFixture(t)[:3], false)
}

// TestDamagedDatabaseOfAcmeDNSIsNamed: damage that is met in the middle is that
// of the old database, and not of ours.
func TestDamagedDatabaseOfAcmeDNSIsNamed(t *testing.T) {
	t.Parallel()
	w := newImport(t, "sqlite", "acme-dns.db")
	db, err := sql.Open("sqlite", "file:"+w.path("acme-dns.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var page, size int
	err = db.QueryRowContext(t.Context(), `SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE name = 'records'`).Scan(&page, &size)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(w.path("acme-dns.db"))
	if err != nil {
		t.Fatal(err)
	}
	copy(data[(page-1)*size:page*size], bytes.Repeat([]byte{0xff}, size))
	write(t, w.path("acme-dns.db"), string(data))
	_, stderr, err := w.run(testContext(t))
	if err == nil || !strings.Contains(stderr, "cnamed: error: reading the database of acme-dns: database disk image is malformed") ||
		!strings.Contains(stderr, ".recover") {
		t.Errorf("%v\n%s", err, stderr)
	}
	if _, err := os.Stat(w.path("cnamed.toml")); err == nil {
		t.Error("there is a configuration without accounts")
	}
}
