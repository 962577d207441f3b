package certdir

import (
	"errors"
	"io/fs"

	"cnamed/acmeclient/certdir/durable"
)

// Error says what could not be done with the files. After any error of Save, the files under live are the old ones, whole,
// unless the error says that the flush of the folder live failed: then they are the new ones, which a loss of power may
// undo.
type Error struct {
	Op   string // "opening", "saving", "loading", "listing"
	Path string // the folder concerned
	Err  error
}

func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause, such as fs.ErrNotExist.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what to mend, or is empty.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Err, fs.ErrPermission) || isReadOnly(e.Err):
		return "run the command as a user who may write there, or choose another folder"
	case isFull(e.Err):
		return "the disk is full: make room and run the command again; the certificate in place was not touched"
	case errors.Is(e.Err, errForeign):
		return "it looks like another program's folder (certbot's has links inside): choose another folder or certificate name"
	case errors.Is(e.Err, durable.ErrNotFolder):
		return "remove that file, or choose another folder"
	}
	return ""
}
