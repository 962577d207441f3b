package sqlite

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// rawConn is a connection that changes no content, by SQLite's own interface. To
// database/sql each column of each row is a value of its own: for a million accounts
// that takes three times as long as SQLite itself; and it knows nothing of files. A
// rawConn is for one goroutine at a time.
type rawConn struct {
	tls *libc.TLS
	db  uintptr // sqlite3*
}

// rawError is what SQLite says to a rawConn.
type rawError struct {
	result int // an extended result code
	text   string
}

func (e *rawError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.result) }

// openRaw opens the existing file at path, also while others use it.
func openRaw(path string) (_ *rawConn, err error) {
	c := &rawConn{tls: libc.NewTLS()}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	name, err := libc.CString(path)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, name)
	err = c.output(func(out uintptr) int32 {
		// SQLite needs to write the files beside the database, where it notes who reads.
		return lib.Xsqlite3_open_v2(c.tls, name, out, lib.SQLITE_OPEN_READWRITE|lib.SQLITE_OPEN_NOMUTEX|lib.SQLITE_OPEN_EXRESCODE, 0)
	}, &c.db)
	if err != nil {
		return nil, err
	}
	lib.Xsqlite3_busy_timeout(c.tls, c.db, 5000)
	// A walk looks at each page once: a small cache is as good as a large one.
	for _, pragma := range []string{`PRAGMA query_only = ON`, `PRAGMA cache_size = -512`} {
		if err := c.exec(pragma); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// output calls a function that writes a pointer to memory of its own world.
func (c *rawConn) output(call func(out uintptr) int32, to *uintptr) error {
	out := libc.Xmalloc(c.tls, libc.Tsize_t(unsafe.Sizeof(*to)))
	if out == 0 {
		return errors.New("no memory")
	}
	defer libc.Xfree(c.tls, out)
	*(*uintptr)(at(out)) = 0
	result := call(out)
	*to = *(*uintptr)(at(out))
	return c.failure(result)
}

// at makes a pointer of an address in the memory of libc, which the garbage
// collector of Go does not know and never moves.
func at(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

// failure returns the error that a result code means, or nil.
func (c *rawConn) failure(result int32) error {
	if result == lib.SQLITE_OK {
		return nil
	}
	text := libc.GoString(lib.Xsqlite3_errstr(c.tls, result))
	if c.db != 0 && lib.Xsqlite3_extended_errcode(c.tls, c.db) == result {
		if more := libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db)); more != text {
			text += ": " + more
		}
	}
	return &rawError{int(result), text}
}

func (c *rawConn) close() {
	lib.Xsqlite3_close_v2(c.tls, c.db)
	c.tls.Close()
}

// exec runs a statement to its end.
func (c *rawConn) exec(text string) error {
	q, err := c.query(text)
	if err != nil {
		return err
	}
	defer q.close()
	for q.next() {
	}
	return q.err
}

// flush has the disk write what it holds back of the database file. The log is
// another file.
func (c *rawConn) flush() error {
	file, methods, err := c.file()
	if err != nil {
		return err
	}
	sync := *(*func(*libc.TLS, uintptr, int32) int32)(unsafe.Pointer(&struct{ uintptr }{methods.FxSync}))
	return c.failure(sync(c.tls, file, lib.SQLITE_SYNC_NORMAL))
}

// file is the sqlite3_file of the database, and its methods.
func (c *rawConn) file() (file uintptr, methods *lib.Tsqlite3_io_methods, err error) {
	err = c.output(func(out uintptr) int32 {
		return lib.Xsqlite3_file_control(c.tls, c.db, 0, lib.SQLITE_FCNTL_FILE_POINTER, out)
	}, &file)
	if err != nil {
		return 0, nil, err
	}
	return file, (*lib.Tsqlite3_io_methods)(at(*(*uintptr)(at(file)))), nil // its address comes first
}

const indexRegion = 32768 // octets of the index of the log that are mapped at once

// logIndex is what begins the index of the log, which all who use the log share
// (sqlite.org/walformat.html §2). It is there until the connection is closed.
type logIndex struct {
	_      [4]uint32
	frames uint32 // pages in the log
	pages  uint32 // of the database
	_      [18]uint32
	moved  uint32 // how many of the frames are in the database
}

// index returns the index of the log, which must be open.
func (c *rawConn) index() (*logIndex, error) {
	file, methods, err := c.file()
	if err != nil {
		return nil, err
	}
	var region uintptr
	err = c.output(func(out uintptr) int32 {
		shmMap := *(*func(*libc.TLS, uintptr, int32, int32, int32, uintptr) int32)(unsafe.Pointer(&struct{ uintptr }{methods.FxShmMap}))
		return shmMap(c.tls, file, 0, indexRegion, 0, out)
	}, &region)
	if err != nil {
		return nil, err
	}
	if region == 0 {
		return nil, errors.New("the index of the log is not there")
	}
	return (*logIndex)(at(region)), nil
}

// moveNothing has none of the log count as moved into the database, for all who use
// it, from their next transaction on. No checkpoint may be under way.
func (x *logIndex) moveNothing() { atomic.StoreUint32(&x.moved, 0) }

// size returns the pages of the log, and of the database. For others than who writes
// to the log the two can be of different commits.
func (x *logIndex) size() (frames, pages int) {
	return int(atomic.LoadUint32(&x.frames)), int(atomic.LoadUint32(&x.pages))
}

// cursor is the rows of a statement. After the last row, or an error, next is
// false and err is the error.
type cursor struct {
	*rawConn
	statement uintptr // sqlite3_stmt*
	what      string  // is read
	err       error
}

// query begins a statement.
func (c *rawConn) query(text string) (*cursor, error) {
	q := &cursor{rawConn: c, what: "a row"}
	p, err := libc.CString(text)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, p)
	return q, c.output(func(out uintptr) int32 {
		return lib.Xsqlite3_prepare_v2(c.tls, c.db, p, -1, out, 0)
	}, &q.statement)
}

// rows is query with a name, for errors, of what a row is.
func (c *rawConn) rows(what, text string) (*cursor, error) {
	q, err := c.query(text)
	if err != nil {
		return nil, unreadable(what, err)
	}
	q.what = what
	return q, nil
}

func (q *cursor) close() { lib.Xsqlite3_finalize(q.tls, q.statement) }

// next goes to the next row.
func (q *cursor) next() bool {
	if q.err != nil {
		return false
	}
	switch result := lib.Xsqlite3_step(q.tls, q.statement); result {
	case lib.SQLITE_ROW:
		return true
	case lib.SQLITE_DONE:
		return false
	default:
		q.err = q.failure(result)
		return false
	}
}

// value is a column of the current row. To ask it costs half of what it costs to
// ask the row for the column each time.
func (q *cursor) value(column int32) uintptr {
	return lib.Xsqlite3_column_value(q.tls, q.statement, column)
}

// octets returns a column of text or a blob, good until next; nil is NULL. A number
// is an error, as what does not fit is for the methods below: it is not what was
// written.
func (q *cursor) octets(column int32) []byte {
	v := q.value(column)
	switch lib.Xsqlite3_value_type(q.tls, v) {
	case lib.SQLITE_TEXT, lib.SQLITE_BLOB:
	case lib.SQLITE_NULL:
		return nil
	default:
		q.odd(column)
		return nil
	}
	data := lib.Xsqlite3_value_blob(q.tls, v)
	if data == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(at(data)), lib.Xsqlite3_value_bytes(q.tls, v))
}

// text returns a column of text that is not NULL, a copy.
func (q *cursor) text(column int32) string {
	octets := q.octets(column)
	if octets == nil {
		q.odd(column)
	}
	return string(octets)
}

// fixed copies a column of exactly so many octets.
func (q *cursor) fixed(column int32, to []byte) {
	from := q.octets(column)
	if copy(to, from); len(from) != len(to) && q.err == nil {
		q.err = fmt.Errorf("%w: %s with a %s of %d octets", errDamaged, q.what, q.name(column), len(from))
	}
}

// integer returns a column of integers.
func (q *cursor) integer(column int32) int64 {
	v := q.value(column)
	if lib.Xsqlite3_value_type(q.tls, v) != lib.SQLITE_INTEGER {
		q.odd(column)
		return 0
	}
	return lib.Xsqlite3_value_int64(q.tls, v)
}

// count returns a column of integers that are an int here.
func (q *cursor) count(column int32) int {
	n := q.integer(column)
	if int64(int(n)) != n {
		q.odd(column)
	}
	return int(n)
}

// integerOrNull is integer where NULL is none.
func (q *cursor) integerOrNull(column int32) (n int64, ok bool) {
	if lib.Xsqlite3_value_type(q.tls, q.value(column)) == lib.SQLITE_NULL {
		return 0, false
	}
	return q.integer(column), true
}

// odd notes that a column is not what was written.
func (q *cursor) odd(column int32) {
	if q.err == nil {
		q.err = fmt.Errorf("%w: %s with a %s of another kind", errDamaged, q.what, q.name(column))
	}
}

// name returns the name of a column.
func (q *cursor) name(column int32) string {
	return libc.GoString(lib.Xsqlite3_column_name(q.tls, q.statement, column))
}
