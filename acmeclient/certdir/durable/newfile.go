package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// NewFile is a file that is written, by whatever means, before it gets its place: a reader of the place never sees a part
// of it.
type NewFile struct {
	*os.File
	path string
}

// Create makes an empty file, for its owner only, in the folder of path. It becomes the file at path by Place; Discard
// removes it unless it did. What is at path already has to be a file, and unless it may be replaced, nothing: then the
// error is fs.ErrExist.
func Create(path string, replace bool) (*NewFile, error) {
	if err := free(path, replace); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return nil, err
	}
	return &NewFile{f, path}, nil
}

func free(path string, replace bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	case !replace:
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return nil
}

// Place flushes and closes the file and puts it in its place, durably.
func (f *NewFile) Place(replace bool) error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if !replace {
		// A link, unlike a rename, cannot take the place of a file that came meanwhile.
		err := os.Link(f.Name(), f.path)
		if err == nil {
			return errors.Join(os.Remove(f.Name()), SyncDir(filepath.Dir(f.path)))
		}
		if errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// Not all file systems have links.
	if err := free(f.path, replace); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(f.path))
}

// Discard closes and removes the file, unless it is in its place.
func (f *NewFile) Discard() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}
