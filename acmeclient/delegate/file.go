package delegate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"cnamed/acmeclient/certdir/durable"
)

// ErrNoRecord says that the credential file has no entry for a domain.
var ErrNoRecord = errors.New("no delegation credentials")

// lockWait is how long a write waits for another process, whose own write takes milliseconds.
const lockWait = 30 * time.Second

// File is a credential file in the form that the clients of acme-dns have in common:
//
//	{"example.com": {"fulldomain": …, "subdomain": …, "username": …, "password": …, "server_url": …}}
//
// Every call reads the file anew, so several processes can share it. It is written whole, durably, with mode 0600, under
// a lock on a file beside it (".lock" after its name); entries and fields of other programs stay as they are, and in
// their order. A file that is broken is refused by every call, with line and column, and never overwritten.
//
// File is safe for concurrent use.
type File struct{ path string }

// OpenFile returns the credential file at path. The file need not exist; if it does it must be sound. When path is a
// symbolic link, the file it points at is the one that is replaced.
func OpenFile(path string) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	f := &File{path}
	if _, err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// Path returns where the file is.
func (f *File) Path() string { return f.path }

// Domains returns the keys of the file, sorted.
func (f *File) Domains() ([]string, error) {
	entries, err := f.read()
	if err != nil {
		return nil, err
	}
	domains := make([]string, 0, len(entries))
	for _, m := range entries {
		domains = append(domains, m.key)
	}
	slices.Sort(domains)
	return domains, nil
}

// Get returns the entry for domain, whatever its case, "*." or final dot. The error wraps ErrNoRecord when there is none.
func (f *File) Get(domain string) (Record, error) {
	entries, err := f.read()
	if err != nil {
		return Record{}, err
	}
	i := find(entries, domain)
	if i < 0 {
		return Record{}, fmt.Errorf("%w for %s in %s", ErrNoRecord, Key(domain), f.path)
	}
	return f.decode(entries[i])
}

// Put stores the entry for domain, in place of one that is there. Fields of the old entry that Record does not have stay.
func (f *File) Put(domain string, r Record) error {
	return f.change(func(entries object) (object, error) { return f.put(entries, domain, r) })
}

// Add stores the entry for domain unless there is one, and returns the one that is now there. Of two processes that
// register the same domain at once, both go on with the same credentials.
func (f *File) Add(domain string, r Record) (stored Record, added bool, err error) {
	err = f.change(func(entries object) (object, error) {
		if i := find(entries, domain); i >= 0 {
			var err error
			stored, err = f.decode(entries[i])
			return nil, err
		}
		stored, added = r, true
		return f.put(entries, domain, r)
	})
	if err != nil {
		return Record{}, false, err
	}
	return stored, added, nil
}

// put returns entries with the entry for domain.
func (f *File) put(entries object, domain string, r Record) (object, error) {
	known, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	fields, err := parseObject(known)
	if err != nil {
		return nil, err
	}
	i := find(entries, domain)
	if i < 0 {
		return entries.set(Key(domain), known), nil
	}
	entry, err := parseObject(entries[i].value)
	if err != nil {
		return nil, f.broken(entries[i], err)
	}
	for _, optional := range []string{"server_url", "allowfrom"} { // a record without them must not keep old ones
		if fields.index(optional) < 0 {
			entry = entry.remove(optional)
		}
	}
	for _, m := range fields {
		entry = entry.set(m.key, m.value)
	}
	entries[i].value = entry.text()
	return entries, nil
}

// find returns the index of the entry for domain: the one with exactly its key, or else the first that means the same.
func find(entries object, domain string) int {
	key := Key(domain)
	if i := entries.index(key); i >= 0 {
		return i
	}
	return slices.IndexFunc(entries, func(m member) bool { return Key(m.key) == key })
}

func (f *File) decode(m member) (Record, error) {
	var r Record
	if err := json.Unmarshal(m.value, &r); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			err = &errOffset{kind.Offset, fmt.Errorf("%s is a %s, not a %s", kind.Field, kind.Value, kind.Type)}
		}
		return Record{}, f.broken(m, err)
	}
	if r.FullDomain == "" || r.Subdomain == "" || r.Username == "" || r.Password == "" {
		return Record{}, f.broken(m, errors.New("fulldomain, subdomain, username or password is missing"))
	}
	return r, nil
}

// read returns the entries of the file, none when there is no file or nothing in it.
func (f *File) read() (object, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading delegation credentials: %w", err)
	}
	entries, err := parseObject(text)
	if err != nil {
		return nil, f.fileError(text, err)
	}
	return entries, nil
}

// change replaces the entries of the file by what edit makes of them, or leaves them when it returns none.
func (f *File) change(edit func(object) (object, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	if err := durable.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	lock, err := durable.Acquire(ctx, f.path+".lock")
	if err != nil {
		return err
	}
	return errors.Join(f.changeLocked(edit), lock.Release())
}

func (f *File) changeLocked(edit func(object) (object, error)) error {
	entries, err := f.read()
	if err != nil {
		return err
	}
	entries, err = edit(entries)
	if err != nil || entries == nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, entries.text(), "", "  "); err != nil {
		return fmt.Errorf("writing delegation credentials: %w", err)
	}
	text.WriteByte('\n')
	if err := durable.WriteFile(f.path, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing delegation credentials: %w", err)
	}
	return nil
}

// CheckMode returns a *ModeError when others may read or write the file. The next write mends it. On Windows, which has
// no such modes, it returns nil.
func (f *File) CheckMode() error {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) || runtime.GOOS == "windows" {
		return nil
	}
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return &ModeError{f.path, mode}
	}
	return nil
}
