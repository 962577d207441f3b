package main

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"log/slog"
	"path/filepath"

	"cnamed/config"
	"cnamed/registry"
	"cnamed/registry/postgres"
)

// importTarget is our database, into which an import goes.
type importTarget struct {
	config *config.Config // of which only the data folder and the database count
	dryRun bool
}

// String names the database for a person.
func (t *importTarget) String() string { return databaseName(t.config) }

var errDryRun = errors.New("a dry run")

// take imports. A dry run neither makes a database nor changes one.
func (t *importTarget) take(ctx context.Context, what registry.Import) (committed registry.Committed, err error) {
	store, err := openStoreAs(ctx, t.config, slog.New(slog.DiscardHandler), t.dryRun)
	if t.dryRun && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, postgres.ErrAbsent)) {
		for _, err := range what.Entries {
			if err != nil {
				return committed, err
			}
		}
		return committed, nil
	}
	if err != nil {
		return committed, permissionHint(err)
	}
	if t.dryRun {
		what.Entries = endWith(what.Entries, errDryRun)
	}
	// What is wrong with the entries is no fault of the store, whose error would
	// say so.
	var wrong error
	what.Entries = watch(what.Entries, &wrong)
	committed, err = store.Import(ctx, what)
	if wrong != nil {
		err = wrong
	}
	if t.dryRun && errors.Is(err, errDryRun) {
		err = nil
	}
	if ctx.Err() != nil {
		err = withHint(errors.New("the import was interrupted; nothing was changed"), "run it again")
	}
	return committed, errors.Join(err, store.Close())
}

// endWith yields entries and, if all went well, err.
func endWith(entries iter.Seq2[*registry.Entry, error], err error) iter.Seq2[*registry.Entry, error] {
	return func(yield func(*registry.Entry, error) bool) {
		for e, failure := range entries {
			if !yield(e, failure) || failure != nil {
				return
			}
		}
		yield(nil, err)
	}
}

// watch yields entries, and notes the error in them.
func watch(entries iter.Seq2[*registry.Entry, error], wrong *error) iter.Seq2[*registry.Entry, error] {
	return func(yield func(*registry.Entry, error) bool) {
		for e, err := range entries {
			*wrong = err
			if !yield(e, err) {
				return
			}
		}
	}
}

// databaseName names the database of a configuration, without its password.
func databaseName(c *config.Config) string {
	if c.Database == "" {
		return sqlitePath(c)
	}
	return c.Database.String()
}

func sqlitePath(c *config.Config) string { return filepath.Join(c.Data, "cnamed.db") }
