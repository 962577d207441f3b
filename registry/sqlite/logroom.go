package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"os"
)

// makeRoom gives the log the size that it will have. Without it commits are slower,
// and a full disk has none to give.
func (d *database) makeRoom(ctx context.Context, log *slog.Logger) {
	page, err := readPageSize(ctx, d.conn)
	if err == nil {
		err = growLog(d.files.path+walSuffix, logHeaderSize+d.checkpoints.room()*(frameHeaderSize+page))
	}
	if err != nil {
		log.Warn("the write-ahead log has no room ahead of it", "err", err)
	}
}

// growLog makes the log at path so large, by zeros, in which SQLite sees the end of
// it. A commit that overwrites a part of a file is flushed in half of the time of one
// that makes it longer, since its place on the disk is known. The log is emptied by
// beginning it anew, so that the room lasts. Nobody may write to it meanwhile.
//
// After an error the log is as it was.
func growLog(path string, size int64) (err error) {
	log, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	info, err := log.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 256<<10)
	for at := info.Size(); at < size && err == nil; at += int64(len(zeros)) {
		_, err = log.WriteAt(zeros, at)
	}
	if err == nil {
		err = log.Sync()
	}
	if err != nil {
		err = errors.Join(err, log.Truncate(info.Size()))
	}
	return err
}
