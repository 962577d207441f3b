package delegate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// FileError says where a credential file is broken.
type FileError struct {
	Path         string
	Line, Column int // from 1; the column counts octets
	Err          error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %v", e.Path, e.Line, e.Column, e.Err)
}

// Unwrap returns what is wrong.
func (e *FileError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *FileError) Hint() string {
	return "mend the file by hand, or move it away and register again; it was not changed"
}

// fileError turns an error at an offset in text into one at a line and column.
func (f *File) fileError(text []byte, err error) error {
	at := 0
	var here *errOffset
	if errors.As(err, &here) {
		at = int(min(max(here.offset, 0), int64(len(text))))
		err = here.err
	}
	before := text[:at]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := at - bytes.LastIndexByte(before, '\n')
	return &FileError{Path: f.path, Line: line, Column: column, Err: err}
}

// broken is fileError for an error in the entry m.
func (f *File) broken(m member, err error) error {
	offset := m.offset
	var here *errOffset
	if errors.As(err, &here) {
		offset, err = offset+here.offset, here.err
	}
	text, readErr := os.ReadFile(f.path)
	if readErr != nil {
		return fmt.Errorf("%s: entry %q: %w", f.path, m.key, err)
	}
	return f.fileError(text, &errOffset{offset, fmt.Errorf("entry %q: %w", m.key, err)})
}

// ModeError says that others than its owner may use a credential file.
type ModeError struct {
	Path string
	Mode fs.FileMode
}

func (e *ModeError) Error() string {
	return fmt.Sprintf("others can read the credentials in %s (mode %04o)", e.Path, e.Mode)
}

// Hint gives the command that mends it.
func (e *ModeError) Hint() string { return "chmod 600 " + e.Path }
