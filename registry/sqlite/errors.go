package sqlite

import (
	"errors"
	"io/fs"
	"slices"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"cnamed/registry"
)

var (
	errGone       = errors.New("the file is gone")
	errReplaced   = errors.New("another file is in its place")
	errReadOnly   = errors.New("the file is read-only")
	errTruncated  = errors.New("the file was cut short")
	errDamaged    = errors.New("the database is damaged")
	errNoDatabase = errors.New("the file is not a cnamed database")
	errMigration  = errors.New("the database could not be migrated")
	errOlder      = errors.New("the database was written by an older version of cnamed")
	errNewer      = errors.New("the database was written by a newer version of cnamed")

	// ErrInUse reports that another process, or another Store, uses the
	// database.
	ErrInUse = errors.New("another process uses the database")
)

// hintedError is an error with advice to the operator.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }

func (e *hintedError) Unwrap() error { return e.err }

// Hint says what mends the error.
func (e *hintedError) Hint() string { return e.hint }

// explain adds a hint to errors for which there is one.
func explain(err error) error {
	hint := ""
	switch {
	case err == nil, errors.As(err, new(*hintedError)):
		return err
	case errors.Is(err, ErrInUse):
		hint = "stop the other server, or give this one a data folder of its own"
	case errors.Is(err, errNewer):
		hint = "install that version again, or restore a backup from before it"
	case errors.Is(err, errNoDatabase), code(err) == lib.SQLITE_NOTADB:
		hint = "if it was one, restore a backup: cnamed restore FILE; if not, move it away, or choose another data folder"
	case errors.Is(err, errTruncated), errors.Is(err, errDamaged), errors.Is(err, registry.ErrMalformed),
		slices.Contains(damageCodes, code(err)):
		hint = "stop the server, and restore a backup: cnamed restore FILE"
	case errors.Is(err, errEmpty), errors.Is(err, errOnlyLog):
		hint = "restore a backup: cnamed restore FILE; or, to begin without any accounts, move it away"
	case code(err) == lib.SQLITE_FULL:
		hint = "free some space on the disk of the database"
	case errors.Is(err, errReadOnly), errors.Is(err, fs.ErrPermission), code(err) == lib.SQLITE_READONLY,
		code(err) == lib.SQLITE_CANTOPEN, errors.As(err, new(*fs.PathError)):
		hint = "the user that runs the server must be able to make and write the file and its folder"
	case code(err) == lib.SQLITE_BUSY:
		hint = "another program writes to the file; stop it"
	case errors.Is(err, errOlder):
		hint = "start the server of this version once: it keeps a copy of the database, and migrates it"
	case errors.Is(err, errMigration):
		hint = "nothing was changed; go on with the version of before, and report this"
	default:
		return err
	}
	return &hintedError{err: err, hint: hint}
}

// damageCodes are what SQLite says of our statements where the file does not hold what we wrote. To SQLite a schema that
// cannot be is no damage, but a fault of whoever asks.
var damageCodes = []int{lib.SQLITE_CORRUPT, lib.SQLITE_ERROR, lib.SQLITE_FORMAT, lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH, lib.SQLITE_NOMEM}

// code returns SQLite's primary result code in err, or 0.
func code(err error) int {
	var ofDriver *driver.Error
	var ofScanner *rawError
	switch {
	case errors.As(err, &ofDriver):
		return ofDriver.Code() & 0xff
	case errors.As(err, &ofScanner):
		return ofScanner.result & 0xff
	default:
		return 0
	}
}
