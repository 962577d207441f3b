package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"cnamed/acmeclient/certdir"
	"cnamed/acmeclient/certdir/durable"
	"cnamed/acmeclient/delegate"
	"cnamed/config"
)

// clientFlags are the flags that all commands of the client have.
type clientFlags struct {
	dir     string
	asJSON  bool
	verbose bool
}

func (f *clientFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", config.ClientFolder(), "folder of certificates, credentials and accounts")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print the result as JSON")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "log every exchange to standard error")
}

// A command that finds the folder locked says so after lockPatience, and gives
// up after lockWait.
const (
	lockPatience = 200 * time.Millisecond
	lockWait     = 10 * time.Minute
)

// workspace is the folder in which the client keeps all that it has. Several
// commands may use it at once; one at a time orders, see locked.
type workspace struct {
	certificates *certdir.Dir
	delegations  *delegate.File
	folder       string
	log          *slog.Logger
	talk         *talk
}

// openIfThere is open for commands that have nothing to do without a folder. It
// makes none, says so, and returns nil.
func (f *clientFlags) openIfThere(cmd *cobra.Command) (*workspace, error) {
	if _, err := os.Stat(f.dir); errors.Is(err, fs.ErrNotExist) {
		(&talk{w: cmd.ErrOrStderr()}).say("%s does not exist: nothing was issued there; --dir names another folder", f.dir)
		return nil, nil
	}
	return f.open(cmd)
}

// open returns the folder, and makes it if need be.
func (f *clientFlags) open(cmd *cobra.Command) (*workspace, error) {
	folder, err := filepath.Abs(f.dir)
	if err != nil {
		return nil, err
	}
	w := &workspace{folder: folder, talk: &talk{w: cmd.ErrOrStderr()}}
	level := slog.LevelWarn
	if f.verbose {
		level = slog.LevelDebug
	}
	w.log = newLog(w.talk, config.Log{Level: level})
	if w.certificates, err = certdir.Open(folder); err != nil {
		return nil, err
	}
	if w.delegations, err = delegate.OpenFile(filepath.Join(folder, "delegations.json")); err != nil {
		return nil, err
	}
	if err := w.delegations.CheckMode(); err != nil {
		w.talk.say("warning: %v (%s)", err, hintOf(err))
	}
	return w, nil
}

// locked calls f while no other command on the folder orders a certificate, or
// makes an account. It says so when it has to wait for that.
func (w *workspace) locked(ctx context.Context, f func() error) (err error) {
	lock, err := w.lock(ctx, lockPatience)
	var held *durable.LockedError
	if errors.As(err, &held) && ctx.Err() == nil {
		w.talk.say("waiting for %s, which works on %s", held.Holder, w.folder)
		lock, err = w.lock(ctx, lockWait)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	return f()
}

func (w *workspace) lock(ctx context.Context, patience time.Duration) (*durable.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return w.certificates.Lock(ctx)
}

// talk is what the program tells a person on the way, on standard error. It is
// safe for concurrent use.
type talk struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *talk) say(format string, args ...any) {
	fmt.Fprintf(t, "cnamed: %s\n", indent(fmt.Sprintf(format, args...)))
}

func (t *talk) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w.Write(p)
}
