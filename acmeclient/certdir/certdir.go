// Package certdir keeps certificates on disk: in certbot's layout, each set of files whole at any instant, durable, and
// the key private.
//
//	<dir>/live/<name>                  a link to ../archive/<name>/<newest version>
//	<dir>/archive/<name>/<version>/    cert.pem chain.pem fullchain.pem privkey.pem renewal.json
//	<dir>/lock                         held by the process that works on the folder
//
// # Why the link is to a folder
//
// certbot links each of the four files on its own, so that a crash between two of the links leaves a key that does not
// belong to the certificate. Here live/<name> is one relative link to a folder that never changes once it has its name,
// and the link is replaced by one rename, which POSIX makes atomic. Whoever resolves the path before the rename finds
// the old set, whoever does after it finds the new one. The link is relative so that the folder can be moved, or mounted
// elsewhere. All files and folders are flushed before the link points at them, and the link's folder after it does, so
// this holds for a loss of power too.
//
// A program that opens two of the files by their paths under live can still be overtaken by the rename between the two.
// A server that does so is told to read them again by its deploy hook.
//
// # Who may read
//
// Keys and renewal.json are 0600. The folders live and archive are 0700 when this package makes them: with the modes of
// the key a second wall. The folders below are 0755 and the certificates 0644, so that an administrator who wants other
// users to see the certificates (they are public) opens live and archive once, by chmod 0755, and it stays so: modes of
// folders that exist are never changed.
//
// # Windows
//
// There, a link needs a right that most users lack. live/<name> is a folder instead, into which the files are copied
// one by one, each atomically. A crash in between leaves a mixture in it until the next Save; Load is not affected,
// since it reads the newest folder in archive, which is always whole.
package certdir

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"cnamed/acmeclient/certdir/durable"
)

// Keep is how many versions of a certificate stay in the archive.
const Keep = 3

// Files is one set: what belongs to one certificate. It is PEM, but this package does not look inside.
type Files struct {
	Cert      []byte // the certificate alone
	Chain     []byte // the intermediates; empty when the CA has none
	FullChain []byte // both
	PrivKey   []byte
	Renewal   []byte // what the caller wants to know at renewal, JSON; may be empty. Kept private like the key
}

// Paths says where the files of a certificate are, under live, where they stay from one version to the next.
type Paths struct {
	Cert      string `json:"cert"`
	Chain     string `json:"chain"`
	FullChain string `json:"fullchain"`
	PrivKey   string `json:"privkey"`
	Renewal   string `json:"renewal"`
}

// The names of the files.
const (
	certFile      = "cert.pem"
	chainFile     = "chain.pem"
	fullChainFile = "fullchain.pem"
	privKeyFile   = "privkey.pem"
	renewalFile   = "renewal.json"
)

// member is one file of a set.
type member struct {
	name string
	mode fs.FileMode
	data *[]byte
}

// members lists the files in the order in which they are written.
func (f *Files) members() []member {
	return []member{
		{privKeyFile, 0o600, &f.PrivKey},
		{certFile, 0o644, &f.Cert},
		{chainFile, 0o644, &f.Chain},
		{fullChainFile, 0o644, &f.FullChain},
		{renewalFile, 0o600, &f.Renewal},
	}
}

// Dir is a folder of certificates. It is safe for concurrent use, by several processes too.
type Dir struct {
	path   string
	links  bool                    // live/<name> is a link; else a folder of copies
	before func(step string) error // for tests: runs before each step of Save and Load; an error is the step's
}

// Open returns the folder at path, and makes it if need be.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, links: runtime.GOOS != "windows", before: func(string) error { return nil }}
	if err := durable.MkdirAll(path, 0o755); err != nil {
		return nil, &Error{Op: "opening", Path: path, Err: err}
	}
	for _, sub := range []string{d.live(), d.archive("")} {
		if err := durable.MkdirAll(sub, 0o700); err != nil {
			return nil, &Error{Op: "opening", Path: path, Err: err}
		}
	}
	return d, nil
}

// Path returns the folder's absolute path.
func (d *Dir) Path() string { return d.path }

func (d *Dir) live() string               { return filepath.Join(d.path, "live") }
func (d *Dir) archive(name string) string { return filepath.Join(d.path, "archive", name) }

// Paths returns where the files of the certificate name are, or will be.
func (d *Dir) Paths(name string) Paths {
	at := func(file string) string { return filepath.Join(d.live(), name, file) }
	return Paths{at(certFile), at(chainFile), at(fullChainFile), at(privKeyFile), at(renewalFile)}
}

// List returns the names of the certificates, sorted. A name whose files cannot be read is in the list, too: Load says
// what is wrong with it.
func (d *Dir) List() ([]string, error) {
	entries, err := os.ReadDir(d.live())
	if err != nil {
		return nil, &Error{Op: "listing", Path: d.path, Err: err}
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		if CheckName(entry.Name()) == nil {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// Lock takes the folder for this process, so that only one issues and renews at a time. It waits until ctx ends; then
// the error is a *durable.LockedError, which says who has it. Save and Load work with and without it.
func (d *Dir) Lock(ctx context.Context) (*durable.Lock, error) {
	return durable.Acquire(ctx, filepath.Join(d.path, "lock"))
}

// Name returns the name under which the certificate for domain is kept: without "*." and a final dot, in lower case, as
// certbot does. A certificate for example.com and one for *.example.com alone would therefore have the same name; the
// caller has to choose another for one of them.
func Name(domain string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(domain, "*."), "."))
	return name, CheckName(name)
}

// CheckName returns an error unless name is fit to be the name of a folder: 1 to 253 of a-z 0-9 . _ -, which begins and
// ends with neither a dot nor a hyphen and has no two dots in a row. Errors are *NameError.
func CheckName(name string) error {
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}
	if name == "" || len(name) > 253 || strings.ContainsFunc(name, bad) || strings.Contains(name, "..") ||
		strings.ContainsRune(".-", rune(name[0])) || strings.ContainsRune(".-", rune(name[len(name)-1])) {
		return &NameError{name}
	}
	return nil
}

// NameError says that a name cannot be the name of a certificate.
type NameError struct{ Name string }

func (e *NameError) Error() string { return fmt.Sprintf("%q cannot name a certificate", e.Name) }

// Hint says which names can.
func (e *NameError) Hint() string {
	return "use lower-case letters, digits, dots, hyphens and underscores, such as the first domain of the certificate"
}
