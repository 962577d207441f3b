package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"cnamed/registry"
)

var (
	errMigration  = errors.New("the database could not be migrated")
	errOlder      = errors.New("the database was written by an older version of cnamed")
	errNewer      = errors.New("the database was written by a newer version of cnamed")
	errDamaged    = errors.New("the database is damaged")
	errConnection = errors.New("the connection string cannot be read")
	errBehind     = errors.New("this node cannot follow the others")
	errAway       = errors.New("this node is no member any more")
	errTurn       = errors.New("the turn of this node was lost")
	errClosed     = fmt.Errorf("%w: the database is closed", registry.ErrStore)
)

const hintConnection = "give it as postgres://user@host:5432/database?sslmode=verify-full"

// ErrAbsent reports that the database has no tables of this program.
var ErrAbsent = errors.New("the database has no tables of cnamed")

// hintedError is an error with advice to the operator.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }

func (e *hintedError) Unwrap() error { return e.err }

// Hint says what mends the error.
func (e *hintedError) Hint() string { return e.hint }

// SQLSTATE codes, PostgreSQL's Appendix A.
const (
	divisionByZero      = "22012"
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
	wrongPassword       = "28P01"
	notAuthorized       = "28000"
	noDatabase          = "3D000"
	tooManyConnections  = "53300"
	noPrivilege         = "42501"
)

// explain adds a hint to errors for which there is one.
func explain(err error) error {
	if err == nil || errors.As(err, new(*hintedError)) {
		return err
	}
	hint := ""
	var network *net.OpError
	switch {
	case errors.Is(err, ErrAbsent):
		hint = "start the server of this version first: it makes the tables; or import into it with cnamed import"
	case errors.Is(err, errOlder):
		hint = "start the server of this version first: it migrates the tables; servers of an older version do not start on them then"
	case errors.Is(err, errMigration):
		hint = "nothing was changed; go on with the version of before, and report this"
	case errors.Is(err, errDamaged) && errors.Is(err, registry.ErrGap):
		hint = "the tables are loaded instead; find out what else writes to the database"
	case errors.Is(err, errNewer):
		hint = "install that version on this machine, too"
	case code(err) == wrongPassword, code(err) == notAuthorized:
		hint = "check user and password in --database, and the server's pg_hba.conf"
	case code(err) == noDatabase:
		hint = "make it: CREATE DATABASE cnamed OWNER cnamed"
	case code(err) == noPrivilege:
		hint = "the user of --database must own the database, or have the right to create in it"
	case code(err) == tooManyConnections:
		hint = "each node has up to five connections: raise max_connections"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		hint = "name the CA of the server's certificate with sslrootcert= in --database"
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		hint = "is PostgreSQL running, and does --database name its address?"
	default:
		return err
	}
	return &hintedError{err: err, hint: hint}
}

// code returns the SQLSTATE of err, or nothing.
func code(err error) string {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

// failed wraps an error for the registry.
func failed(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, registry.ErrStore), errors.Is(err, registry.ErrGap):
		return err
	case errors.Is(err, errDamaged):
		return fmt.Errorf("%w: %s: %w", registry.ErrStore, doing, err)
	}
	return fmt.Errorf("%w: %s: %w", registry.ErrUnavailable, doing, explain(err))
}
