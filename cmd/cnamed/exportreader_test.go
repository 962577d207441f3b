package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"cnamed/config"
	"cnamed/registry"
	"cnamed/registry/sqlite"
)

const (
	testHeader  = `{"format":"cnamed-export","version":1,"made":"2026-11-24T02:29:33Z","serial":7}` + "\n"
	testToken   = `{"token":{"id":"0000000000","sha256":"0000000000000000000000000000000000000000000000000000000000000000","created":"2026-11-24T02:29:33Z","uses":0}}` + "\n"
	testRetired = `{"retired":"www"}` + "\n"
	testAccount = `{"account":{"username":"00000000-0000-4000-8000-000000000001","subdomain":"one","password_hash":"sha256:0000000000000000000000000000000000000000000000000000000000000000","created":"2026-11-24T02:29:33Z","values":[{"txt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","set":"2026-11-24T02:29:33Z"}]}}` + "\n"
	testEnd     = `{"end":{"tokens":1,"retired":1,"accounts":1}}` + "\n"
	testExport  = testHeader + testToken + testRetired + testAccount + testEnd
)

// readExport reads all of an export.
func readExport(text string) (x *exportReader, entries []*registry.Entry, err error) {
	if x, err = newExportReader(strings.NewReader(text), "x"); err != nil {
		return x, nil, err
	}
	for e, err := range x.entries() {
		if err != nil {
			return x, nil, err
		}
		entries = append(entries, e)
	}
	return x, entries, nil
}

func TestMistakesInAnExportAreNamedWithTheirLine(t *testing.T) {
	t.Parallel()
	if x, entries, err := readExport(testExport); err != nil || len(entries) != 1 || len(x.tokens) != 1 || !slices.Equal(x.retired, []string{"www"}) {
		t.Fatalf("%+v, %v, %v", x, entries, err)
	}
	for _, test := range []struct{ old, new, want string }{
		{testHeader, "", "x is no export"},
		{testExport, "", "x is empty"},
		{`"version":1`, `"version":0`, "x:1: "},
		{`"serial":7`, `"serial":18446744073709551615`, "x:1: "},
		{testEnd, "", "x ends after line 4"},
		{testEnd, strings.TrimSpace(testEnd), "x ends after line 5"}, // cut within the number, perhaps
		{testAccount, "", "x:4: there are"},
		{testAccount, testAccount + testAccount, "x:6: there are"},
		{testToken, "", "x:4: there are"},
		{testAccount + testEnd, testAccount + testToken, "x:5: tokens and retired names come before"},
		{testEnd, testEnd + testEnd, "x:6: there is more"},
		{testRetired, "{}\n", "x:3: the line has to be one of"},
		{testRetired, `{"retired":"a","end":{}}` + "\n", "x:3: the line has to be one of"},
		{testRetired, `{"retired":"a"}{"retired":"b"}` + "\n", "x:3: there is more than one"},
		{testRetired, `{"retired":"` + "\xff" + `"}` + "\n", "x:3: it is not UTF-8"},
		{testRetired, `{"retired":"` + strings.Repeat("a", maxExportLine) + `"}` + "\n", "x:3: it is longer than 1048576 bytes"},
		{`"subdomain"`, `"subdomian"`, "x:4: json: unknown field"},
		{`"sha256:0000`, `"sha256:00`, "x:4: account 00000000-0000-4000-8000-000000000001: a SHA-256 has"},
		{`"sha256:0000`, `"sha256:zz00`, "x:4: account"},
		{`"password_hash":"sha256:` + strings.Repeat("0", 64), `"password_hash":"bcrypt:secret`, "x:4: account"},
		{`"AAAA`, `"A!AA`, "x:4: account"},
		{`"set":"2026`, `"set":"1926`, "x:4: account"},
		{`"created":"2026-11-24T02:29:33Z","values":[`, `"created":"2026-11-24T02:29:33Z","note":"a\u001b[2J","values":[`, "x:4: account"},
		{`"values":[`, `"values":[{"txt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","set":"2026-11-24T02:29:33Z"},`, "x:4: account"},
		{`"id":"0000000000"`, `"id":"0000000001"`, "x:2: the token: "},
		{`"uses":0`, `"uses":-1`, "x:2: the token: "},
	} {
		if !strings.Contains(testExport, test.old) {
			t.Fatalf("%q is not in the export", test.old)
		}
		_, _, err := readExport(strings.Replace(testExport, test.old, test.new, 1))
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%.60q for %.40q: %v, want %q", test.new, test.old, err, test.want)
		}
	}
}

// Whatever a store holds comes back from an export of it.
func TestExportHoldsEverything(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	c := &config.Config{Data: t.TempDir()}
	store, err := sqlite.Open(t.Context(), sqlitePath(c), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	plain := registry.Account{Username: uuid.New(), PasswordHash: make([]byte, 32), Subdomain: uuid.NewString(), Created: at}
	full := registry.Account{Username: uuid.New(), PasswordHash: []byte("$2a$10$abcdefghijklmnopqrstuv"), Subdomain: "Typed <by> ü",
		AllowFrom: []string{"192.0.2.0/24", "2001:db8::/32"}, Note: "a & b — c", Created: at, Updated: at.Add(1e9), Authenticated: at.Add(2e9)}
	locked := registry.Account{Username: uuid.New(), PasswordHash: []byte("$2 is no bcrypt hash, but 32 byt"), Subdomain: "locked", Locked: true, Created: at}
	batch := []registry.Mutation{
		registry.CreateAccount{Account: plain}, registry.CreateAccount{Account: full}, registry.CreateAccount{Account: locked},
		registry.RetireName{Name: "gone"},
	}
	for i := range 3 {
		batch = append(batch, registry.PutValue{Username: full.Username, Value: registry.Value{TXT: fmt.Sprintf("%043d", 9-i), At: at}})
	}
	_, err = store.Commit(t.Context(), batch)
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}

	export := func(c *config.Config) string {
		var text bytes.Buffer
		x := &exporter{header: exportHeader{Format: exportFormat, Version: exportVersion, Made: at}, progress: newPaced(t.Logf)}
		if err := x.run(t.Context(), c, &text); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(text.String(), "\n")
		return testHeader + rest
	}
	first := export(c)
	reader, err := newExportReader(strings.NewReader(first), "x")
	if err != nil {
		t.Fatal(err)
	}
	other := &config.Config{Data: t.TempDir()}
	_, err = (&importTarget{config: other}).take(context.Background(), registry.Import{Entries: reader.entries(), Retired: reader.retired,
		Taken: func(e, _ *registry.Entry) error { return fmt.Errorf("%s is taken", e.Subdomain) }})
	if err != nil {
		t.Fatal(err)
	}
	if second := export(other); second != first || strings.Count(first, "\n") != 6 {
		t.Errorf("exported was\n%s\nand after an import\n%s", first, second)
	}
}

// FuzzExport: whatever is read as an export is written as one that reads the same.
func FuzzExport(f *testing.F) {
	f.Add(testExport)
	f.Add(strings.Replace(testExport, `"subdomain"`, `"locked":true,"allowfrom":["::/0"],"note":"ü","updated":"2026-11-24T02:29:33.5+01:00","subdomain"`, 1))
	f.Fuzz(func(t *testing.T, text string) {
		_, entries, err := readExport(text)
		if err != nil {
			return
		}
		for _, e := range entries {
			line := new(exportAccount)
			line.set(e)
			again, err := line.entry()
			if err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
			if in := registry.Differences(e, again); in != nil || again.Note != e.Note || !again.Created.Equal(e.Created) {
				t.Fatalf("%+v became %+v", e, again)
			}
		}
	})
}
