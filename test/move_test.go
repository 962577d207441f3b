//go:build unix

package test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"cnamed/test/postgres"
	"cnamed/test/program"
	"cnamed/test/world"
)

// startPostgreSQL starts a database and returns its URL.
func startPostgreSQL(t *testing.T) (url string) {
	t.Helper()
	required(t, postgres.Binaries() != "", "PostgreSQL is not installed")
	server, err := postgres.Start(testContext(t), "max_connections=30")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	folder := strings.TrimPrefix(strings.Fields(server.Connection())[0], "host=")
	return "postgres:///postgres?user=acmedns&sslmode=disable&host=" + folder
}

func serialOf(t *testing.T, s *program.Server) uint32 {
	t.Helper()
	r, err := exchange(testContext(t), &dns.Client{Net: "tcp"}, new(dns.Msg).SetQuestion(world.Zone+".", dns.TypeSOA), s.DNS[0])
	if err != nil || len(r.Answer) != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	return r.Answer[0].(*dns.SOA).Serial
}

// withoutHeader is an export but for its first line, which dates it.
func withoutHeader(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	return rest
}

// TestMoveToPostgreSQLAndBack takes the accounts from SQLite to PostgreSQL, with
// two servers on it, and back. Credentials, values, tokens and notes come along,
// and the serial of the zone never falls.
func TestMoveToPostgreSQLAndBack(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	url := startPostgreSQL(t)
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }

	one := serve(t, path("one"))
	var accounts []account
	for n := range 5 {
		a, err := registerAccount(ctx, client, one.API[0])
		if err != nil {
			t.Fatal(err)
		}
		accounts = append(accounts, a)
		mustUpdate(t, client, one, a, value(n))
		mustUpdate(t, client, one, a, value(100+n))
	}
	cnamed(ctx, t, "token", "create", "--data", path("one"), "--uses", "3", "--note", "lab")
	cnamed(ctx, t, "account", "note", "--data", path("one"), accounts[0].Subdomain, "the first")
	cnamed(ctx, t, "account", "allow", "--data", path("one"), accounts[1].Subdomain, "192.0.2.0/24")
	cnamed(ctx, t, "account", "delete", "--data", path("one"), accounts[4].Subdomain)
	accounts = accounts[:4]
	serial := serialOf(t, one)
	stop(t, one)

	// To PostgreSQL. A dry run leaves it as empty as it was.
	cnamed(ctx, t, "export", "--data", path("one"), path("one.jsonl"))
	said := cnamed(ctx, t, "import", "--data", path("two"), "--database", url, "--dry-run", path("one.jsonl"))
	if !strings.Contains(said, "4       would be imported into postgres://") {
		t.Errorf("the dry run says:\n%s", said)
	}
	out, err := exec.CommandContext(ctx, binary, "export", "--database", url).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("the database has no tables of cnamed")) {
		t.Errorf("the dry run made something: %v\n%s", err, out)
	}
	cnamed(ctx, t, "import", "--data", path("two"), "--database", url, path("one.jsonl"))
	two := serve(t, path("two"), "--database", url)
	three := serve(t, path("three"), "--database", url)
	for _, s := range []*program.Server{two, three} {
		checkMoved(t, client, s, accounts)
		if moved := serialOf(t, s); moved <= serial {
			t.Errorf("the serial was %d and is %d", serial, moved)
		}
	}

	// Again, while both run: nothing is lost, and a server whose update came after
	// the export is the one that is right.
	mustUpdate(t, client, two, accounts[2], value(200))
	said = cnamed(ctx, t, "import", "--data", path("two"), "--database", url, path("one.jsonl"))
	if !strings.Contains(said, "3       there already, and the same") || !strings.Contains(said, accounts[2].Username+` "`+accounts[2].Subdomain+`": another values`) {
		t.Errorf("the second import says:\n%s", said)
	}
	eventually(t, func() error { return served(t, three, accounts[2], value(200)) })

	// And back.
	cnamed(ctx, t, "export", "--database", url, path("two.jsonl"))
	serial = max(serialOf(t, two), serialOf(t, three))
	stop(t, two)
	stop(t, three)
	cnamed(ctx, t, "import", "--data", path("four"), path("two.jsonl"))
	four := serve(t, path("four"))
	checkMoved(t, client, four, accounts[:2])
	if moved := serialOf(t, four); moved <= serial {
		t.Errorf("the serial was %d and is %d", serial, moved)
	}
	if err := served(t, four, accounts[2], value(200)); err != nil {
		t.Error(err)
	}
	stop(t, four)
	cnamed(ctx, t, "export", "--data", path("four"), path("four.jsonl"))
	if got, want := withoutHeader(t, path("four.jsonl")), withoutHeader(t, path("two.jsonl")); got != want {
		t.Errorf("from PostgreSQL came\n%s\nand SQLite has\n%s", want, got)
	}
	var token struct{ Token struct{ Note string } }
	first, _, _ := strings.Cut(withoutHeader(t, path("four.jsonl")), "\n")
	if err := json.Unmarshal([]byte(first), &token); err != nil || token.Token.Note != "lab" {
		t.Errorf("the token is %s, %v", first, err)
	}
}

// checkMoved looks for the values that were set before, and logs in.
func checkMoved(t *testing.T, client *http.Client, s *program.Server, accounts []account) {
	t.Helper()
	for n, a := range accounts {
		got := mustValues(t, s, a.Subdomain)
		if slices.Sort(got); !slices.Equal(got, []string{value(n), value(100 + n)}) {
			t.Errorf("account %d has %q", n, got)
		}
		r, err := call(testContext(t), client, http.MethodGet, s.API[0]+"/v1/account", a, "")
		want := http.StatusOK
		if n == 1 {
			want = http.StatusUnauthorized // by its allow list
		}
		if err == nil {
			err = r.error(want)
		}
		if err != nil {
			t.Errorf("account %d: %v", n, err)
		}
	}
}

func mustUpdate(t *testing.T, client *http.Client, s *program.Server, a account, value string) {
	t.Helper()
	r, err := update(testContext(t), client, s.API[0], a, value)
	if err == nil {
		err = r.error(http.StatusOK)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func served(t *testing.T, s *program.Server, a account, want string) error {
	got, err := values(testContext(t), s.DNS[0], a.Subdomain)
	if err == nil && !slices.Contains(got, want) {
		err = &missingError{want, got}
	}
	return err
}

type missingError struct {
	want string
	got  []string
}

func (e *missingError) Error() string { return e.want + " is not among " + strings.Join(e.got, " ") }

func TestAccountsOfAcmeDNSComeToPostgreSQL(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	url := startPostgreSQL(t)
	w := newImport(t, "sqlite", "acme-dns.db")
	accounts := readFixture(t)
	args := []string{"import", "acme-dns", "--config", w.path("config.cfg"), "--data", w.path("data"), "--output", w.path("cnamed.toml"),
		"--into", strings.Replace(url, "postgres:///", "postgres://:secret@/", 1)}
	said := cnamed(ctx, t, append(args, "--dry-run")...)
	if !strings.Contains(said, "would be imported into postgres://") || strings.Contains(said, "secret") {
		t.Errorf("the dry run says:\n%s", said)
	}
	if _, err := os.Stat(w.path("data")); !os.IsNotExist(err) {
		t.Errorf("the dry run made the data folder: %v", err)
	}
	cnamed(ctx, t, args...)
	if info, err := os.Stat(w.path("cnamed.toml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the configuration: %v, %v", info, err)
	}
	s := w.serve(t)
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	for i, a := range accounts {
		got := mustValues(t, s, a.Subdomain)
		if slices.Sort(got); !slices.Equal(got, a.Values) {
			t.Errorf("%s: %q is served, want %q", a.Note, got, a.Values)
		}
		if a.locked() {
			continue
		}
		mustUpdate(t, client, s, a.account, value(10*i))
	}
	if _, err := os.Stat(w.path("data/cnamed.db")); !os.IsNotExist(err) {
		t.Errorf("there is a database in a file: %v", err)
	}
	// While the server runs, and again: by now every hash was replaced.
	var r importResult
	out := cnamed(ctx, t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &r); err != nil || r.Added != 0 || r.AlreadyPresent+len(r.Differing) != len(accounts) {
		t.Errorf("the second import: %v\n%s", err, out)
	}
}
