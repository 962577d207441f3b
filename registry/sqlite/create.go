package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

var (
	errEmpty   = errors.New("the file is empty")
	errOnlyLog = errors.New("the file is gone, and its log is still there")
)

// newSuffix names a database that is being made, until it is whole.
const newSuffix = "-new"

// create makes a database where there is none, and looks at one that is there.
// What has the name of the database is whole at any moment, also of the first
// start, so that an empty file, or one without our mark, is never the beginning
// of ours: it was damaged, and must not be taken for a server that has no
// accounts yet.
func (s *Store) create(ctx context.Context) error {
	info, err := os.Stat(s.path)
	switch {
	case err == nil && info.Mode().IsRegular():
		if err := checkHeader(s.path, info.Size()); err != nil {
			return err
		}
		return checkLog(s.path + walSuffix)
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if log, err := os.Stat(s.path + walSuffix); err == nil && log.Size() > 0 {
		return fmt.Errorf("%w: %s", errOnlyLog, s.path+walSuffix)
	}
	part := s.path + newSuffix
	for _, suffix := range []string{"", walSuffix, shmSuffix} { // of a start that was cut short
		if err := removeFile(part + suffix); err != nil {
			return err
		}
	}
	if err := makeFile(part); err != nil {
		return err
	}
	db, err := openDatabase(ctx, part, &s.opts)
	if err == nil {
		err = db.close() // which moves the log into it and flushes it
	}
	if err == nil {
		err = os.Rename(part, s.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(s.path))
	}
	if err != nil {
		return fmt.Errorf("making it: %w", err)
	}
	s.log.Info("made a new database", "path", s.path)
	return nil
}

// The header of SQLite's file format, §1.3.
const (
	headerMagic   = "SQLite format 3\x00"
	headerSize    = 100
	headerAppID   = 68
	headerVersion = 60
)

// checkHeader refuses what cannot be a database of ours. SQLite takes an empty
// file for an empty database.
func checkHeader(path string, size int64) error {
	if size == 0 {
		return errEmpty
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	header := make([]byte, headerSize)
	n, err := io.ReadFull(f, header)
	if !bytes.HasPrefix(header, []byte(headerMagic)) {
		if n > 0 && err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			return errNoDatabase
		}
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	if binary.BigEndian.Uint32(header[headerAppID:]) != applicationID {
		return errNoDatabase
	}
	if binary.BigEndian.Uint32(header[headerVersion:]) == 0 {
		return fmt.Errorf("%w: it has no schema", errDamaged)
	}
	return nil
}
