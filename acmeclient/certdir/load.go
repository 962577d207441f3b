package certdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Load returns the files of the certificate name: all of one version, even while a Save goes on. The error wraps
// fs.ErrNotExist when there is no such certificate.
func (d *Dir) Load(name string) (Files, error) {
	if err := CheckName(name); err != nil {
		return Files{}, err
	}
	files, err := d.load(name)
	if err != nil {
		return Files{}, &Error{Op: "loading", Path: filepath.Join(d.live(), name), Err: err}
	}
	return files, nil
}

func (d *Dir) load(name string) (Files, error) {
	for {
		dir, err := d.current(name)
		if err != nil {
			return Files{}, err
		}
		var files Files
		err = d.do("read", func() error {
			files, err = readSet(dir)
			return err
		})
		if !errors.Is(err, fs.ErrNotExist) {
			return files, err
		}
		// Perhaps it was pruned while we read. Then there is a newer one.
		if again, _ := d.current(name); again == dir {
			return Files{}, err
		}
	}
}

// current returns the folder of the version in use.
func (d *Dir) current(name string) (string, error) {
	if d.links {
		target, err := os.Readlink(filepath.Join(d.live(), name))
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(d.live(), target)
		}
		return target, nil
	}
	versions, err := d.versions(name)
	if err != nil {
		return "", err
	}
	if len(versions) == 0 {
		return "", fs.ErrNotExist
	}
	return d.versionDir(name, versions[len(versions)-1]), nil
}

func readSet(dir string) (Files, error) {
	var files Files
	for _, m := range files.members() {
		data, err := os.ReadFile(filepath.Join(dir, m.name))
		if err != nil {
			return Files{}, err
		}
		*m.data = data
	}
	return files, nil
}

func (d *Dir) versionDir(name string, version int) string {
	return filepath.Join(d.archive(name), strconv.Itoa(version))
}

// versions returns the numbers of the versions in the archive, in order.
func (d *Dir) versions(name string) ([]int, error) {
	entries, err := os.ReadDir(d.archive(name))
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	var versions []int
	for _, entry := range entries {
		// Only the canonical form: others are not ours.
		if n, err := strconv.Atoi(entry.Name()); err == nil && n > 0 && strconv.Itoa(n) == entry.Name() {
			versions = append(versions, n)
		}
	}
	slices.Sort(versions)
	return versions, nil
}
