package delegate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func record(n int) Record {
	return Record{
		FullDomain: fmt.Sprintf("sub%d.auth.example.org", n),
		Subdomain:  fmt.Sprintf("sub%d", n),
		Username:   "eabcdb41-d89f-4580-826f-3e62e9755ef2",
		Password:   "pbAXVjlIOE01xbut7YnAbkhMQIkcwoHO0ek2j4Q0",
		ServerURL:  "https://auth.example.org",
	}
}

func openFile(t *testing.T, content string) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials.json")
	if content != "" {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func contents(t *testing.T, f *File) string {
	t.Helper()
	text, err := os.ReadFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPutThenGet(t *testing.T) {
	t.Parallel()
	f := openFile(t, "")
	if _, err := f.Get("example.com"); !errors.Is(err, ErrNoRecord) {
		t.Errorf("Get before Put: %v", err)
	}
	want := record(1)
	want.AllowFrom = []string{"192.0.2.0/24"}
	if err := f.Put("*.Example.COM.", want); err != nil {
		t.Fatal(err)
	}
	again, err := OpenFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, domain := range []string{"example.com", "*.example.com", "EXAMPLE.com."} {
		if got, err := again.Get(domain); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Get(%q) = %+v, %v", domain, got, err)
		}
	}
	if domains, err := again.Domains(); err != nil || !reflect.DeepEqual(domains, []string{"example.com"}) {
		t.Errorf("domains %v, %v", domains, err)
	}
	if err := f.Put("example.com", record(2)); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Get("example.com"); err != nil || !reflect.DeepEqual(got, record(2)) {
		t.Errorf("after a second Put: %+v, %v", got, err)
	}
}

func TestFileHasTheFormOfOtherClients(t *testing.T) {
	t.Parallel()
	f := openFile(t, "")
	if err := f.Put("example.com", record(1)); err != nil {
		t.Fatal(err)
	}
	const want = `{
  "example.com": {
    "fulldomain": "sub1.auth.example.org",
    "subdomain": "sub1",
    "username": "eabcdb41-d89f-4580-826f-3e62e9755ef2",
    "password": "pbAXVjlIOE01xbut7YnAbkhMQIkcwoHO0ek2j4Q0",
    "server_url": "https://auth.example.org"
  }
}
`
	if got := contents(t, f); got != want {
		t.Errorf("the file is\n%s", got)
	}
}

func TestForeignEntriesAndFieldsStay(t *testing.T) {
	t.Parallel()
	f := openFile(t, `{"z.example": {"note": 1e400}, "*.example.com": {"created": "2020", "password": "old", "allowfrom": ["::/0"]},
		"\ud800": null, "other": "<text>"}`)
	if err := f.Put("example.com", record(1)); err != nil {
		t.Fatal(err)
	}
	if err := f.Put("new.example", record(2)); err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(contents(t, f))); err != nil {
		t.Fatal(err)
	}
	const secret = `"password":"pbAXVjlIOE01xbut7YnAbkhMQIkcwoHO0ek2j4Q0"`
	const user = `"username":"eabcdb41-d89f-4580-826f-3e62e9755ef2"`
	const server = `"server_url":"https://auth.example.org"`
	want := `{"z.example":{"note":1e400},"*.example.com":{"created":"2020",` + secret +
		`,"fulldomain":"sub1.auth.example.org","subdomain":"sub1",` + user + `,` + server + `},"\ud800":null,"other":"<text>",` +
		`"new.example":{"fulldomain":"sub2.auth.example.org","subdomain":"sub2",` + user + `,` + secret + `,` + server + `}}`
	if compact.String() != want {
		t.Errorf("the file is\n%s\nwant\n%s", &compact, want)
	}
}

func TestBrokenFileIsRefusedAndNotTouched(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		content      string
		line, column int
		says         string
	}{
		{"{\n  \"a\": {,}\n}", 2, 9, "invalid character ','"},
		{"[]", 1, 1, "must be a JSON object"},
		{"{\"a\": {}", 1, 8, "unexpected end"},
		{"{}\n{}", 2, 1, "after top-level value"},
		{"{\"a\": {},\n \"a\": {}}", 2, 2, "twice"},
		{"nonsense", 1, 2, "invalid character"},
	} {
		path := filepath.Join(t.TempDir(), "credentials.json")
		f := &File{path} // it breaks after it was opened
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, openErr := OpenFile(path)
		_, getErr := f.Get("example.com")
		_, _, addErr := f.Add("example.com", record(1))
		for _, err := range []error{openErr, getErr, addErr, f.Put("example.com", record(1))} {
			var e *FileError
			if !errors.As(err, &e) || e.Line != tt.line || e.Column != tt.column || !strings.Contains(err.Error(), tt.says) || e.Hint() == "" {
				t.Errorf("%q: %v", tt.content, err)
			}
		}
		if got := contents(t, f); got != tt.content {
			t.Errorf("%q became %q", tt.content, got)
		}
	}
}

func TestBrokenEntryConcernsItsDomainOnly(t *testing.T) {
	t.Parallel()
	const content = "{\n\"a.example\": {\"username\": 7},\n\"b.example\": \"text\",\n\"c.example\": {}\n}"
	f := openFile(t, content)
	for domain, line := range map[string]int{"a.example": 2, "b.example": 3, "c.example": 4} {
		var e *FileError
		if _, err := f.Get(domain); !errors.As(err, &e) || e.Line != line || !strings.Contains(err.Error(), domain) {
			t.Errorf("Get(%s): %v", domain, err)
		}
	}
	if err := f.Put("b.example", record(1)); err == nil {
		t.Error("an entry of an unknown kind was overwritten")
	}
	if got := contents(t, f); got != content {
		t.Errorf("became %q", got)
	}
	if err := f.Put("d.example", record(1)); err != nil {
		t.Errorf("another domain: %v", err)
	}
}

func TestEmptyFileIsAFileWithoutEntries(t *testing.T) {
	t.Parallel()
	f := openFile(t, " \n")
	if err := f.Put("example.com", record(1)); err != nil {
		t.Error(err)
	}
}

func TestAddKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	f := openFile(t, "")
	if got, added, err := f.Add("example.com", record(1)); err != nil || !added || got.Subdomain != "sub1" {
		t.Errorf("first: %v %v %v", got, added, err)
	}
	if got, added, err := f.Add("*.example.com", record(2)); err != nil || added || got.Subdomain != "sub1" {
		t.Errorf("second: %v %v %v", got, added, err)
	}
}

func TestModeIsTightenedByWriting(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("windows has no modes")
	}
	f := openFile(t, `{}`)
	if err := os.Chmod(f.Path(), 0o644); err != nil {
		t.Fatal(err)
	}
	var e *ModeError
	if err := f.CheckMode(); !errors.As(err, &e) || e.Hint() != "chmod 600 "+f.Path() {
		t.Errorf("CheckMode of 0644: %v", err)
	}
	if err := f.Put("example.com", record(1)); err != nil {
		t.Fatal(err)
	}
	if err := f.CheckMode(); err != nil {
		t.Errorf("CheckMode after Put: %v", err)
	}
}

func TestSymbolicLinkStays(t *testing.T) {
	t.Parallel()
	f := openFile(t, `{}`)
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(f.Path(), link); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	linked, err := OpenFile(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := linked.Put("example.com", record(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get("example.com"); err != nil {
		t.Errorf("by its own path: %v", err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
}

// writers is how many entries each of the processes and goroutines below puts.
const writers = 10

func TestMain(m *testing.M) {
	if path := os.Getenv("DELEGATE_TEST_PUT"); path != "" {
		if err := putMany(path, os.Getenv("DELEGATE_TEST_NAME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func putMany(path, name string) error {
	f, err := OpenFile(path)
	if err != nil {
		return err
	}
	for i := range writers {
		if err := f.Put(fmt.Sprintf("%s-%d.example", name, i), record(i)); err != nil {
			return err
		}
	}
	return nil
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	t.Parallel()
	f := openFile(t, "")
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "DELEGATE_TEST_PUT="+f.Path(), fmt.Sprint("DELEGATE_TEST_NAME=process", i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		wg.Go(func() {
			if err := putMany(f.Path(), fmt.Sprint("goroutine", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	domains, err := f.Domains()
	if err != nil || len(domains) != 6*writers {
		t.Errorf("%d of %d entries, %v", len(domains), 6*writers, err)
	}
}

func TestSecretShowsItselfInJSONAlone(t *testing.T) {
	t.Parallel()
	r := record(1)
	var logged bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	log.Info("x", "secret", r.Password, "record", r)
	shown := logged.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
		shown += fmt.Sprintf(verb, r.Password) + fmt.Sprintf(verb, r) + fmt.Sprintf(verb, &r)
	}
	shown += r.Password.String()
	if strings.Contains(shown, r.Password.Reveal()) || strings.Contains(shown, fmt.Sprintf("%x", r.Password.Reveal())) {
		t.Errorf("it is in %s", shown)
	}
	text, err := json.Marshal(r)
	if err != nil || !bytes.Contains(text, []byte(r.Password.Reveal())) {
		t.Errorf("it is not in %s, %v", text, err)
	}
}

func TestCNAMEOfARecord(t *testing.T) {
	t.Parallel()
	for _, domain := range []string{"example.com", "*.Example.com."} {
		c := record(1).CNAME(domain)
		if c != (CNAME{"_acme-challenge.example.com.", "sub1.auth.example.org."}) {
			t.Errorf("%s: %+v", domain, c)
		}
		if got := c.String(); got != "_acme-challenge.example.com. CNAME sub1.auth.example.org." {
			t.Errorf("%s: %s", domain, got)
		}
	}
}

// Whatever file parses keeps, through a Put, every entry but the one that was put, byte for byte and in its order.
func FuzzPutKeepsOtherEntries(f *testing.F) {
	f.Add([]byte(`{"a": {"x": [1, 2.50]}, "example.com": {"note": "kept"}, "B": null}`))
	f.Add([]byte(`{"\u0061": "<&>", "": {}}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Add([]byte(` {} `))
	f.Fuzz(func(t *testing.T, text []byte) {
		before, err := parseObject(text)
		if err != nil {
			return
		}
		file := &File{path: "none"}
		edited, err := parseObject(text)
		if err != nil {
			t.Fatal(err)
		}
		edited, err = file.put(edited, "example.com", record(1))
		if err != nil {
			return // the entry for example.com is of an unknown kind
		}
		after, err := parseObject(edited.text())
		if err != nil {
			t.Fatalf("%q becomes %q: %v", text, edited.text(), err)
		}
		at := find(after, "example.com")
		if got, err := file.decode(after[at]); err != nil || got.Subdomain != "sub1" {
			t.Fatalf("%q: the entry that was put is %+v, %v", text, got, err)
		}
		for i, m := range before {
			if i == at {
				keepsFields(t, m, after[i])
			} else if !bytes.Equal(m.rawKey, after[i].rawKey) || !bytes.Equal(m.value, after[i].value) {
				t.Fatalf("%q: entry %s: %s became %s: %s", text, m.rawKey, m.value, after[i].rawKey, after[i].value)
			}
		}
	})
}

func keepsFields(t *testing.T, before, after member) {
	t.Helper()
	old, err := parseObject(before.value)
	if err != nil {
		t.Fatal(err)
	}
	now, err := parseObject(after.value)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range old {
		switch m.key {
		case "fulldomain", "subdomain", "username", "password", "server_url", "allowfrom":
			continue
		}
		if i := now.index(m.key); i < 0 || !bytes.Equal(now[i].value, m.value) {
			t.Fatalf("field %s of %s is lost in %s", m.rawKey, before.value, after.value)
		}
	}
}
