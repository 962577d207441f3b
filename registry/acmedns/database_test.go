package acmedns

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cnamed/registry"
)

// schema is that of acme-dns, of version 1.
const schema = `
	CREATE TABLE acmedns (Name TEXT, Value TEXT);
	INSERT INTO acmedns VALUES ('db_version', '1');
	CREATE TABLE records (Username TEXT UNIQUE NOT NULL PRIMARY KEY, Password TEXT UNIQUE NOT NULL,
		Subdomain TEXT UNIQUE NOT NULL, AllowFrom TEXT);
	CREATE TABLE txt (Subdomain TEXT NOT NULL, Value TEXT NOT NULL DEFAULT '', LastUpdate INT);`

// hash has the form of a bcrypt hash, another one for each n.
func hash(n int) string { return fmt.Sprintf("$2a$10$%053d", n) }

func username(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// txt is value number n.
func txt(n int) string { return fmt.Sprintf("%043d", n) }

// write makes a SQLite database.
func write(t *testing.T, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "acme-dns.db")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func openSQLite(t *testing.T, path string) *Database {
	t.Helper()
	d, err := OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

var created = time.Unix(1_800_000_000, 0)

// read returns copies of all entries, and the findings as "kind username".
func read(t *testing.T, d *Database) (entries []registry.Entry, findings []string) {
	t.Helper()
	found := func(f Finding) {
		findings = append(findings, fmt.Sprintf("%s %s", f.Kind, f.Username))
		if f.Detail == "" {
			t.Errorf("%v says nothing", f)
		}
	}
	for e, err := range d.Entries(t.Context(), created, found) {
		if err != nil {
			t.Fatal(err)
		}
		c := *e
		c.PasswordHash, c.AllowFrom, c.Values = slices.Clone(e.PasswordHash), slices.Clone(e.AllowFrom), slices.Clone(e.Values)
		entries = append(entries, c)
	}
	return entries, findings
}

func texts(e registry.Entry) (all []string) {
	for _, v := range e.Values {
		all = append(all, v.TXT)
	}
	return all
}

// expected is one account of testdata/accounts.json.
type expected struct {
	Username, Password, Subdomain string
	AllowFrom, Values             []string
	Note                          string
}

func readExpected(t *testing.T) (all []expected) {
	t.Helper()
	data, err := os.ReadFile("testdata/accounts.json")
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantFixture compares what was read with the first n accounts of the fixture.
func wantFixture(t *testing.T, entries []registry.Entry, n int, values bool) {
	t.Helper()
	byName := map[string]registry.Entry{}
	for _, e := range entries {
		byName[e.Subdomain] = e
	}
	all := readExpected(t)[:n]
	if len(entries) != len(all) {
		t.Errorf("%d accounts, want %d", len(entries), len(all))
	}
	for _, want := range all {
		e, ok := byName[want.Subdomain]
		if !ok {
			t.Errorf("%s is missing", want.Subdomain)
			continue
		}
		if e.Username.String() != want.Username || bcrypt.CompareHashAndPassword(e.PasswordHash, []byte(want.Password)) != nil {
			t.Errorf("%s: the credentials are not those of the account", want.Note)
		}
		if locked := strings.Contains(want.Note, "NULL"); e.Locked != locked || !slices.Equal(e.AllowFrom, want.AllowFrom) {
			t.Errorf("%s: locked %v, allows %q", want.Note, e.Locked, e.AllowFrom)
		}
		if values && !slices.Equal(texts(e), want.Values) {
			t.Errorf("%s: values %q, want %q", want.Note, texts(e), want.Values)
		}
		if !e.Created.Equal(created) {
			t.Errorf("%s: created %v", want.Note, e.Created)
		}
	}
}

func TestDatabaseOfARealServer(t *testing.T) {
	t.Parallel()
	d := openSQLite(t, "testdata/acme-dns.db")
	entries, findings := read(t, d)
	wantFixture(t, entries, 6, true)
	if want := []string{"locked b24c411b-5df5-4ac6-9b41-b56cebe81d53"}; !slices.Equal(findings, want) {
		t.Errorf("findings %q, want %q", findings, want)
	}
	if n, err := d.Len(t.Context()); n != 6 || err != nil || d.Version() != 1 {
		t.Errorf("%d accounts, %v, version %d", n, err, d.Version())
	}
}

func TestDatabaseOfVersion0(t *testing.T) {
	t.Parallel()
	d := openSQLite(t, "testdata/acme-dns-v0.db")
	entries, findings := read(t, d)
	wantFixture(t, entries, 3, false)
	if d.Version() != 0 || findings != nil {
		t.Errorf("version %d, findings %q", d.Version(), findings)
	}
}

func TestVersion0KeepsItsOneValue(t *testing.T) {
	t.Parallel()
	path := write(t, `CREATE TABLE records (Username TEXT UNIQUE NOT NULL PRIMARY KEY, Password TEXT UNIQUE NOT NULL,
		Subdomain TEXT UNIQUE NOT NULL, Value TEXT, LastActive INT, AllowFrom TEXT)`,
		fmt.Sprintf(`INSERT INTO records VALUES ('%s', '%s', 'a', '%s', 1700000000, '[]'), ('%s', '%s', 'b', NULL, NULL, '[]')`,
			username(1), hash(1), txt(1), username(2), hash(2)))
	entries, findings := read(t, openSQLite(t, path))
	if len(entries) != 2 || findings != nil {
		t.Fatalf("%v, %q", entries, findings)
	}
	if v := entries[0].Values; len(v) != 1 || v[0].TXT != txt(1) || v[0].At.Unix() != 1_700_000_000 || len(entries[1].Values) != 0 {
		t.Errorf("values %v and %v", v, entries[1].Values)
	}
}

// odd are accounts that need a decision: what is in the database, and what
// becomes of it. Both kinds of databases get them.
var odd = []struct {
	name                 string
	username             string // empty: a usual one
	password             string // empty: a usual hash
	subdomain, allowFrom string // in SQL
	txt                  [][2]any
	want                 string // "out", or "locked" or the allow list, and the values
	findings             []Kind
}{
	{name: "plain", subdomain: "'plain'", allowFrom: `'[]'`, want: "[] []"},
	{name: "typed by hand, case kept", subdomain: "'Corp-WWW'", allowFrom: `'[]'`, want: "[] []"},
	{name: "no label", subdomain: "'under_score.and.dots'", allowFrom: `'[]'`, want: "[] []", findings: []Kind{Unreachable}},
	{name: "lower case wins", subdomain: "'twin'", allowFrom: `'[]'`, want: "[] []"},
	{name: "upper case loses", subdomain: "'TWIN'", allowFrom: `'[]'`, want: "out", findings: []Kind{SameName}},
	{name: "first of two wins", subdomain: "'Pair'", allowFrom: `'[]'`, want: "[] []"},
	{name: "second of two loses", subdomain: "'pAIR'", allowFrom: `'[]'`, want: "out", findings: []Kind{SameName}},
	{name: "only ASCII has case", subdomain: "'É'", allowFrom: `'[]'`, want: "[] []", findings: []Kind{Unreachable}},
	{name: "only ASCII has case", subdomain: "'é'", allowFrom: `'[]'`, want: "[] []", findings: []Kind{Unreachable}},

	{name: "NULL", subdomain: "'n1'", allowFrom: "NULL", want: "locked []", findings: []Kind{Locked}},
	{name: "empty", subdomain: "'n2'", allowFrom: "''", want: "locked []", findings: []Kind{Locked}},
	{name: "no JSON", subdomain: "'n3'", allowFrom: "'[\"10.0.0.0/8\"'", want: "locked []", findings: []Kind{Locked}},
	{name: "JSON null", subdomain: "'n4'", allowFrom: "'null'", want: "locked []", findings: []Kind{Locked}},
	{name: "a text", subdomain: "'n5'", allowFrom: `'"10.0.0.0/8"'`, want: "locked []", findings: []Kind{Locked}},
	{name: "a list of numbers", subdomain: "'n6'", allowFrom: `'[10]'`, want: "locked []", findings: []Kind{Locked}},
	{name: "no prefix at all", subdomain: "'n7'", allowFrom: `'["192.0.2.1", ""]'`, want: "locked []", findings: []Kind{Locked}},
	{name: "some prefixes", subdomain: "'n8'", allowFrom: `'["10.1.2.3/8", "x", "[::1]/64"]'`, want: "[10.1.2.3/8 ::1/64] []", findings: []Kind{BadAllowFrom}},

	{name: "one value", subdomain: "'v1'", allowFrom: `'[]'`, txt: [][2]any{{txt(1), 5}}, want: "[] [1]"},
	{name: "an empty one", subdomain: "'v2'", allowFrom: `'[]'`, txt: [][2]any{{"", 0}, {txt(2), 5}}, want: "[] [2]"},
	{name: "newest of many", subdomain: "'v3'", allowFrom: `'[]'`, txt: [][2]any{{txt(4), 7}, {txt(3), 9}, {txt(2), 5}, {"", 99}, {txt(1), 8}}, want: "[] [1 3]"},
	{name: "one second", subdomain: "'v4'", allowFrom: `'[]'`, txt: [][2]any{{txt(1), 5}, {txt(2), 5}, {txt(3), 5}}, want: "[] [2 3]"},
	{name: "the same twice", subdomain: "'v5'", allowFrom: `'[]'`, txt: [][2]any{{txt(2), 4}, {txt(1), 5}, {txt(1), 6}}, want: "[] [2 1]"},
	{name: "no time", subdomain: "'v6'", allowFrom: `'[]'`, txt: [][2]any{{txt(2), nil}, {txt(1), 6}}, want: "[] [2 1]"},
	{name: "no challenge", subdomain: "'v7'", allowFrom: `'[]'`, txt: [][2]any{{"hello", 9}, {txt(1), 6}}, want: "[] [1]", findings: []Kind{BadValue}},

	{name: "a name", username: "admin", subdomain: "'u1'", allowFrom: `'[]'`, want: "out", findings: []Kind{BadUsername}},
	{name: "upper case", username: "ABCDEF00-0000-4000-8000-000000000000", subdomain: "'u2'", allowFrom: `'[]'`, want: "out", findings: []Kind{BadUsername}},
	{name: "in clear", password: "secret", subdomain: "'p1'", allowFrom: `'[]'`, want: "out", findings: []Kind{BadPassword}},
	{name: "like a SHA-256", password: strings.Repeat("x", 32), subdomain: "'p2'", allowFrom: `'[]'`, want: "out", findings: []Kind{BadPassword}},
}

// oddStatements fills the tables. quote writes a password.
func oddStatements(quote func(n int, s string) string) (statements []string) {
	for i, a := range odd {
		user, password := a.username, a.password
		if user == "" {
			user = username(i)
		}
		if password == "" {
			password = hash(i)
		}
		statements = append(statements, fmt.Sprintf(`INSERT INTO records VALUES ('%s', %s, %s, %s)`,
			user, quote(i, password), a.subdomain, a.allowFrom))
		for _, v := range a.txt {
			at := "NULL"
			if v[1] != nil {
				at = fmt.Sprint(v[1])
			}
			statements = append(statements, fmt.Sprintf(`INSERT INTO txt (Subdomain, Value, LastUpdate) VALUES (%s, '%s', %s)`,
				a.subdomain, v[0], at))
		}
	}
	return statements
}

func wantOdd(t *testing.T, d *Database) {
	t.Helper()
	entries, findings := read(t, d)
	got := map[string]string{}
	last := ""
	for _, e := range entries {
		access := fmt.Sprint(e.AllowFrom)
		if e.Locked {
			access = "locked"
			if len(e.AllowFrom) > 0 {
				t.Errorf("%s is locked and allows %q", e.Subdomain, e.AllowFrom)
			}
		}
		short := []string{}
		for _, v := range texts(e) {
			short = append(short, strings.TrimLeft(v, "0"))
		}
		got["'"+e.Subdomain+"'"] = fmt.Sprintf("%s %v", access, short)
		if user := e.Username.String(); user <= last {
			t.Errorf("%s comes after %s", user, last)
		} else {
			last = user
		}
	}
	var wantFindings []string
	for i, a := range odd {
		user := a.username
		if user == "" {
			user = username(i)
		}
		for _, k := range a.findings {
			wantFindings = append(wantFindings, fmt.Sprintf("%s %s", k, user))
		}
		if out := a.want == "out"; out != (got[a.subdomain] == "") || !out && got[a.subdomain] != a.want {
			t.Errorf("%s: %q, want %q", a.name, got[a.subdomain], a.want)
		}
	}
	slices.Sort(wantFindings)
	slices.Sort(findings)
	if !slices.Equal(findings, wantFindings) {
		t.Errorf("findings\n%s\nwant\n%s", strings.Join(findings, "\n"), strings.Join(wantFindings, "\n"))
	}
}

func TestOddAccountsInSQLite(t *testing.T) {
	t.Parallel()
	// Passwords are BLOB or TEXT.
	quote := func(n int, s string) string {
		if n%2 == 0 {
			return fmt.Sprintf("X'%x'", s)
		}
		return "'" + s + "'"
	}
	wantOdd(t, openSQLite(t, write(t, append([]string{schema}, oddStatements(quote)...)...)))
}

func TestTablesWithoutConstraints(t *testing.T) {
	t.Parallel()
	row := func(user, password, subdomain string) string {
		return "INSERT INTO records VALUES (" + user + ", " + password + ", " + subdomain + ", '[]')"
	}
	quoted := func(s string) string { return "'" + s + "'" }
	path := write(t, strings.NewReplacer("UNIQUE", "", "NOT NULL", "", "PRIMARY KEY", "").Replace(schema),
		row(quoted(username(2)), quoted(hash(1)), "'one'"),
		row(quoted(username(1)), quoted(hash(2)), "'first'"),
		row(quoted(username(1)), quoted(hash(3)), "'second'"),
		row(quoted(username(3)), quoted(hash(4)), "'one'"),
		row(quoted(username(4)), "NULL", "'open'"),
		row("NULL", quoted(hash(5)), "'nobody'"),
		row(quoted(username(6)), quoted(hash(6)), "NULL"),
		"INSERT INTO txt VALUES ('first', '"+txt(1)+"', 1), ('second', '"+txt(2)+"', 2), ('one', '"+txt(3)+"', 3)",
	)
	entries, findings := read(t, openSQLite(t, path))
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%s %q %v", e.Username, e.Subdomain, texts(e)))
	}
	want := []string{
		username(1) + ` "first" [` + txt(1) + `]`,
		username(2) + ` "one" [` + txt(3) + `]`,
		username(6) + ` "" []`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	want = []string{"bad_username ", "same_username " + username(1), "same_name " + username(3),
		"bad_password " + username(4), "unreachable " + username(6)}
	if !slices.Equal(findings, want) {
		t.Errorf("findings %q, want %q", findings, want)
	}
}

func TestManyRowsComeInOneOrder(t *testing.T) {
	t.Parallel()
	const n = 3000 // several batches
	path := write(t, schema, fmt.Sprintf(`
		WITH RECURSIVE i (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i WHERE n < %d)
		INSERT INTO records SELECT printf('00000000-0000-4000-8000-%%012x', n * 7919 %% 3001), printf('$2a$10$%%053d', n), 'name-' || n, '[]' FROM i`, n-1),
		`INSERT INTO txt SELECT Subdomain, printf('%043d', rowid), 1 FROM records`,
		`INSERT INTO txt SELECT Subdomain, printf('%043d', rowid + 100000), 2 FROM records`)
	entries, findings := read(t, openSQLite(t, path))
	if len(entries) != n || findings != nil {
		t.Fatalf("%d accounts, %q", len(entries), findings)
	}
	for i, e := range entries {
		if i > 0 && e.Username.String() <= entries[i-1].Username.String() || len(e.Values) != 2 || e.Values[0].TXT >= e.Values[1].TXT {
			t.Fatalf("number %d: %v", i, e)
		}
	}
}

func TestEntriesCanBeLeftEarly(t *testing.T) {
	t.Parallel()
	path := write(t, schema, `
		WITH RECURSIVE i (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i WHERE n < 9999)
		INSERT INTO records SELECT printf('00000000-0000-4000-8000-%012x', n), printf('$2a$10$%053d', n), 'name-' || n, '[]' FROM i`)
	d := openSQLite(t, path)
	for _, err := range d.Entries(t.Context(), created, nil) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n, err := d.Len(t.Context()); n != 10_000 || err != nil {
		t.Errorf("afterwards %d accounts, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, last = range d.Entries(ctx, created, nil) {
		cancel()
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("after the end of the context: %v", last)
	}
}

func TestReadingLeavesNoTrace(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T) string{
		"rollback journal": func(t *testing.T) string { return write(t, schema) },
		"write-ahead log":  func(t *testing.T) string { return write(t, `PRAGMA journal_mode = WAL`, schema) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := make(t)
			before := folder(t, path)
			d, err := OpenSQLite(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			read(t, d)
			during := folder(t, path)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(before, during) || !maps.Equal(before, folder(t, path)) {
				t.Errorf("the folder of the database changed: %d, %d, %d files", len(before), len(during), len(folder(t, path)))
			}
		})
	}
}

// folder is the content of all files beside path.
func folder(t *testing.T, path string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		content[f] = string(data)
	}
	return content
}

func TestRunningServerIsReadToo(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"DELETE", "WAL"} {
		path := write(t, `PRAGMA journal_mode = `+mode, schema)
		running, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		defer running.Close()
		if _, err := running.ExecContext(t.Context(), fmt.Sprintf(`INSERT INTO records VALUES ('%s', '%s', 'a', '[]')`, username(1), hash(1))); err != nil {
			t.Fatal(err)
		}
		if entries, _ := read(t, openSQLite(t, path)); len(entries) != 1 {
			t.Errorf("%s: %d accounts, want the one that was just registered", mode, len(entries))
		}
	}
}

func TestRunningServerChangesNothingOfAnOpenDatabase(t *testing.T) {
	t.Parallel()
	path := write(t, `PRAGMA journal_mode = WAL`, schema)
	running, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	var n int
	if err := running.QueryRowContext(t.Context(), `SELECT count(*) FROM records`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	// It has written nothing yet: its log is empty.
	d := openSQLite(t, path)
	for _, s := range []string{
		fmt.Sprintf(`INSERT INTO records VALUES ('%s', '%s', 'a', '[]')`, username(1), hash(1)),
		`PRAGMA wal_checkpoint`,
	} {
		if _, err := running.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if entries, _ := read(t, d); len(entries) != 0 {
		t.Errorf("%d accounts of after the beginning", len(entries))
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := write(t, schema, `CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob(100000))`)
	if err := os.Truncate(damaged, 4096); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(t.TempDir(), "absent"): "no such file",
		text:                                 "not an SQLite database",
		t.TempDir():                          "not an SQLite database",
		damaged:                              "malformed",
		write(t, `CREATE TABLE other (x)`):   "tables of acme-dns",
		write(t, `CREATE TABLE records (Username, Password, Subdomain, AllowFrom)`): "tables of acme-dns",
		write(t, strings.ReplaceAll(schema, "'1'", "'2'")):                          `db_version is "2"`,
		write(t, schema, `DROP TABLE txt`):                                          "tables of acme-dns",
		write(t, schema, `ALTER TABLE records RENAME COLUMN AllowFrom TO Allowed`):  "tables of acme-dns",
		write(t, schema, `UPDATE acmedns SET Value = NULL`):                         `db_version is ""`,
	} {
		d, err := OpenSQLite(t.Context(), path)
		if err == nil {
			t.Errorf("%s was opened, want an error about %q", path, want)
			_ = d.Close()
			continue
		}
		var hinted *Error
		if !strings.Contains(err.Error(), want) || !errors.As(err, &hinted) || hinted.Hint() == "" {
			t.Errorf("%v: want %q, and a hint", err, want)
		}
	}
}
