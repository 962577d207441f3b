package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Restored is what Restore did.
type Restored struct {
	Info
	// Aside is where the database is now that was there before; empty: there was
	// none.
	Aside string
	// Unreadable says that it was damaged, or no database.
	Unreadable bool
	// AsideLog is where the log is that could not be moved into it, or that was there
	// without a database; empty: there was none.
	AsideLog string
}

const restoreSuffix = "-restore"

// Restore puts a copy of file, as Reader.CopyTo writes it, in the place of the
// database at path, which is kept under another name. At any moment one of the two
// is there, whole. The serial of the zone goes on above that of the old database
// and, since that may be lost, above the time, so that secondaries see a change.
//
// A file that is damaged, not ours or of a newer version is refused, and so is
// everything while another process uses the database, with ErrInUse; then nothing
// was changed.
func Restore(ctx context.Context, path, file string, now time.Time) (done Restored, err error) {
	path, err = filepath.Abs(path)
	if err == nil {
		done, err = restore(ctx, path, file, now)
	}
	if err != nil {
		return Restored{}, fmt.Errorf("restoring %s: %w", path, explain(err))
	}
	return done, nil
}

func restore(ctx context.Context, path, file string, now time.Time) (done Restored, err error) {
	if err := checkBackup(file, path); err != nil {
		return done, err
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return done, err
	}
	lock, err := lockFile(path + lockSuffix)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, unlockFile(lock)) }()
	inheritOwner(lock.Name(), path, filepath.Dir(path))

	part := path + restoreSuffix
	if err := removeFile(part); err != nil {
		return done, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeFile(part))
		}
	}()
	if err := copyFile(ctx, file, part); err != nil {
		return done, err
	}
	inheritOwner(part, path, filepath.Dir(path))
	if done.Info, err = check(ctx, part); err != nil {
		if errors.Is(err, errNewer) || ctx.Err() != nil {
			return done, fmt.Errorf("%s: %w", file, err)
		}
		return done, &hintedError{fmt.Errorf("%s: %w", file, err), "nothing was changed; try another backup"}
	}

	serial, there, err := settle(ctx, path)
	if err != nil {
		return done, err
	}
	done.Unreadable = there && serial == 0
	if done.Serial, err = raiseSerial(ctx, part, max(serial+1, uint64(now.Unix()))); err != nil {
		return done, err
	}
	aside := path + ".replaced-" + stamp(now)
	if there {
		// Unless it has to be moved it keeps the old name, too, until another file takes that.
		aside, err = linkBeside(path, aside)
		done.Aside = aside
	}
	if err == nil {
		done.AsideLog, err = moveLog(path, aside)
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	return done, err
}

// checkBackup refuses what is not a file of its own.
func checkBackup(file, path string) error {
	info, err := os.Stat(file)
	if err != nil {
		return &hintedError{err, "name a file that cnamed backup wrote"}
	}
	if !info.Mode().IsRegular() {
		return &hintedError{fmt.Errorf("%s is no file", file), "name a file that cnamed backup wrote"}
	}
	if there, err := os.Stat(path); err == nil && os.SameFile(info, there) {
		return &hintedError{fmt.Errorf("%s is the database itself", file), "name a file that cnamed backup wrote"}
	}
	if log, err := os.Stat(file + walSuffix); err == nil && log.Size() > 0 {
		return &hintedError{fmt.Errorf("%s is not complete: the newest of it is in %s", file, filepath.Base(file)+walSuffix),
			"it was copied from a database in use; name a file that cnamed backup wrote"}
	}
	return nil
}

// copyFile copies a file to a private one that does not exist.
func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := makeFile(to); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, &endingReader{ctx, in})
	return errors.Join(err, out.Close())
}

// endingReader ends with a context.
type endingReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *endingReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// settle brings what is in the log of the database at path into it, so that it is
// one file, and returns its serial: 0 where it cannot be read. It may be the reason
// for the restore, so that this is no error.
func settle(ctx context.Context, path string) (serial uint64, there bool, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, err
	}
	if checkLog(path+walSuffix) != nil {
		return 0, true, nil // to bring it into the database would lose what is behind the damage
	}
	db, err := openForReading(ctx, path, url.Values{"mode": {"rw"}, "_busy_timeout": {"1000"}})
	if err != nil {
		return 0, true, ctx.Err()
	}
	var busy, pages, moved int
	err = db.conn.QueryRowContext(ctx, `SELECT serial FROM zone`).Scan(&serial)
	if err == nil {
		err = db.conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &moved)
	}
	if closing := db.close(); err == nil {
		err = closing
	}
	if err == nil && busy != 0 {
		return 0, true, &hintedError{errors.New("another program reads the present database"), "wait for it, or stop it"}
	}
	if err != nil {
		return 0, true, ctx.Err()
	}
	return serial, true, nil
}

// raiseSerial sets the serial of the database at path, which nobody uses, to at
// least what is wanted, and flushes the file.
func raiseSerial(ctx context.Context, path string, want uint64) (serial uint64, err error) {
	db, err := openForReading(ctx, path, url.Values{"mode": {"rw"}, "_journal_mode": {"DELETE"}})
	if err != nil {
		return 0, err
	}
	err = db.conn.QueryRowContext(ctx, `UPDATE zone SET serial = max(serial + 1, ?) RETURNING serial`, int64(want)).Scan(&serial)
	if err := errors.Join(err, db.close()); err != nil {
		return 0, err
	}
	return serial, syncFile(path)
}

// moveLog makes the log of the database at path that of aside: it must not be taken
// for that of the next database at path. It returns its name, if there is one.
func moveLog(path, aside string) (name string, err error) {
	if log, err := os.Stat(path + walSuffix); err == nil && log.Size() > 0 {
		name = aside + walSuffix
		if err := os.Rename(path+walSuffix, name); err != nil {
			return "", err
		}
	}
	return name, errors.Join(removeFile(path+walSuffix), removeFile(path+shmSuffix))
}
