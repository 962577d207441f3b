package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	walSuffix  = "-wal"
	shmSuffix  = "-shm"
	lockSuffix = "-lock"

	fileMode   fs.FileMode = 0o600
	folderMode fs.FileMode = 0o700
)

// files is the identity of the files that a connection has open.
type files struct {
	path      string
	main, wal fs.FileInfo
	shm       fs.FileInfo // -shm; nil where SQLite keeps none
	size      int64       // of main; we never shrink it
}

// identify notes which files a connection to path has open. The connection has
// written to the database already, so that they all exist; before is what was
// at path before it was opened.
func identify(path string, before fs.FileInfo) (files, error) {
	f := files{path: path}
	var err error
	if f.main, err = os.Stat(path); err != nil {
		return f, err
	}
	if !os.SameFile(before, f.main) {
		return f, errors.New("the file was replaced while it was being opened")
	}
	if f.wal, err = os.Stat(path + walSuffix); err != nil {
		return f, err
	}
	f.size = f.main.Size()
	f.shm, _ = os.Stat(path + shmSuffix)
	return f, nil
}

// check returns an error unless the paths still lead to the open files and
// their modes allow to write. SQLite would not notice: it goes on writing to a
// file that has lost its name, and root may write what is read-only. What
// looks written would be lost with the process, or is not wanted.
func (f *files) check() error {
	for _, file := range []struct {
		path string
		open fs.FileInfo
	}{{f.path, f.main}, {f.path + walSuffix, f.wal}} {
		now, err := os.Stat(file.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s: %w", file.path, errGone)
		case err != nil:
			return err
		case !os.SameFile(now, file.open):
			return fmt.Errorf("%s: %w", file.path, errReplaced)
		case now.Mode().Perm()&0o200 == 0:
			return fmt.Errorf("%s: %w", file.path, errReadOnly)
		}
		if file.open == f.main {
			if now.Size() < f.size {
				return fmt.Errorf("%s: %w", file.path, errTruncated)
			}
			f.size = now.Size()
		}
	}
	return nil
}

// removeLog removes the log and its index that f left behind, after its
// database was replaced. SQLite would take them for those of the new database
// and write the pages of one into the other.
func (f *files) removeLog() error {
	var errs []error
	for _, file := range []struct {
		path string
		open fs.FileInfo
	}{{f.path + walSuffix, f.wal}, {f.path + shmSuffix, f.shm}} {
		now, err := os.Stat(file.path)
		if err == nil && file.open != nil && os.SameFile(now, file.open) {
			errs = append(errs, os.Remove(file.path))
		}
	}
	return errors.Join(errs...)
}

// removeFile removes a file, if it is there.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// placeBeside moves the file at path to name, or to name with a number behind it:
// what is there is not replaced. It returns the name.
func placeBeside(path, name string) (string, error) {
	placed, err := linkBeside(path, name)
	if err != nil {
		return "", err
	}
	return placed, removeFile(path)
}

// linkBeside gives the file at path one more name, as placeBeside. Where the file
// system has no links it loses the one that it has.
func linkBeside(path, name string) (string, error) {
	for n := 1; ; n++ {
		place := name
		if n > 1 {
			place = fmt.Sprintf("%s-%d", name, n)
		}
		_, err := os.Lstat(place)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		err = os.Link(path, place)
		switch {
		case err == nil:
			return place, nil
		case errors.Is(err, fs.ErrExist):
			continue
		}
		return place, os.Rename(path, place)
	}
}

// makeFolder makes the folder of the database, for its owner only. A folder
// that exists keeps its mode.
func makeFolder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s is not a folder", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

// makeFile makes an empty file, which is an empty database, with the mode that
// SQLite then gives to the files beside it as well. An existing file is made
// private: the hashes in it are nobody else's business.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err == nil {
		return errors.Join(f.Sync(), f.Close(), syncFolder(filepath.Dir(path)))
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errNoDatabase
	case info.Mode().Perm()&0o200 == 0:
		return errReadOnly
	case info.Mode().Perm()&^fileMode != 0:
		return os.Chmod(path, fileMode)
	}
	return nil
}
