// Package durable has the steps from which files that must not be lost are made: a file that is replaced whole, a
// folder, and a lock between processes.
//
// It promises that after WriteFile returned nil, the new content survives a crash of the process, of the system, and a
// loss of power, as far as the disk keeps what it acknowledged. Until then a reader sees the old content, whole.
//
// On Windows a folder cannot be flushed; the file system's journal orders the rename there.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path by data, with the permissions perm regardless of the umask. The folder must exist.
//
// The new content is written to a temporary file in the same folder, flushed, and renamed into place. After an error the
// file has its old content, except when only the last flush of the folder failed: then either may be found after a
// crash. When root replaces somebody's file, it stays theirs;
// a new file belongs to the owner of its folder.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	if err := fill(f, path, data, perm); err != nil {
		return fmt.Errorf("writing %s: %w", path, discard(f, err))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return discard(f, err)
	}
	return SyncDir(dir)
}

// Mkdir makes one folder, which must not exist, and flushes the folder above it. It belongs to the owner of the latter
// when root makes it.
func Mkdir(path string, perm fs.FileMode) error {
	if err := os.Mkdir(path, perm); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return err
	}
	InheritOwner(f, filepath.Dir(path))
	if err := f.Close(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// ErrNotFolder says that there is something else in a folder's place.
var ErrNotFolder = errors.New("is not a folder")

// MkdirAll makes the folder path, if it is not there, with the mode perm, and the missing folders above it with the mode
// 0755. The modes of folders that exist are not changed.
func MkdirAll(path string, perm fs.FileMode) error {
	err := Mkdir(path, perm)
	switch {
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path:
		if err := MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return MkdirAll(path, perm) // somebody else may have made it meanwhile
	case errors.Is(err, fs.ErrExist):
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: path, Err: ErrNotFolder}
		}
		return err
	}
	return err
}

// fill writes, flushes and closes the temporary file f that will replace path.
func fill(f *os.File, path string, data []byte, perm fs.FileMode) error {
	InheritOwner(f, path, filepath.Dir(path))
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// discard removes the temporary file f after err. What goes wrong here is less important than err.
func discard(f *os.File, err error) error {
	_ = f.Close()
	_ = os.Remove(f.Name())
	return err
}
