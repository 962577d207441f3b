package durable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// errBusy is returned by tryLock when somebody else holds the lock.
var errBusy = errors.New("locked")

// LockedError says that somebody else held the lock for as long as the caller was ready to wait.
type LockedError struct {
	Path   string // the lock file
	Holder string // who holds it, such as "process 4711 since 2026-01-02T15:04:05Z"; empty when that cannot be read
	Err    error  // the cause of the end of the wait, from the context
}

func (e *LockedError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by %s", e.Path, e.Holder)
}

// Unwrap returns the cause of the end of the wait.
func (e *LockedError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *LockedError) Hint() string {
	return "wait until the other process has ended, then run the command again"
}

// Lock is a lock between processes, and between goroutines of one process. The system releases it when the process ends,
// however it ends.
type Lock struct{ f *os.File }

// Acquire takes the lock whose file is path, which it makes if need be. The file stays there afterwards: removing it
// would let two processes hold locks on two files of the same name.
//
// It tries at least once, and goes on until ctx ends; then the error is a *LockedError. On systems that have neither
// flock nor LockFileEx it locks nothing and succeeds.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	InheritOwner(f, filepath.Dir(path))
	if err := wait(ctx, f); err != nil {
		holder := holder(f)
		_ = f.Close()
		if errors.Is(err, errBusy) {
			return nil, &LockedError{Path: path, Holder: holder, Err: context.Cause(ctx)}
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	// For people who find the lock held. Nothing depends on it.
	_ = f.Truncate(0)
	_, _ = fmt.Fprintf(io.NewOffsetWriter(f, 0), "process %d since %s\n", os.Getpid(), time.Now().UTC().Format(time.RFC3339))
	return &Lock{f}, nil
}

// wait tries to lock f, again and again until ctx ends. A blocking flock could not be given up.
func wait(ctx context.Context, f *os.File) error {
	const first, last = time.Millisecond, 100 * time.Millisecond
	for pause := first; ; pause = min(2*pause, last) {
		err := tryLock(f)
		if !errors.Is(err, errBusy) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errBusy
		case <-timer.C:
		}
	}
}

func holder(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 200))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Release gives the lock back. It must be called once.
func (l *Lock) Release() error {
	_ = l.f.Truncate(0)
	return l.f.Close() // closing the last descriptor of the open file releases its lock
}
