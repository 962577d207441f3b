package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"cnamed/config"
	"cnamed/registry"
	"cnamed/registry/postgres"
	"cnamed/registry/sqlite"
)

// openStore opens the database that is configured, and makes it if need be.
func openStore(ctx context.Context, c *config.Config, log *slog.Logger) (registry.Store, error) {
	return openStoreAs(ctx, c, log, false)
}

// openStoreAs opens the database that is configured. An existing one is neither
// made nor migrated.
func openStoreAs(ctx context.Context, c *config.Config, log *slog.Logger, existing bool) (registry.Store, error) {
	if c.Database == "" {
		store, err := sqlite.Open(ctx, sqlitePath(c), sqlite.Options{Log: log, Existing: existing})
		if err != nil {
			return nil, err
		}
		return store, nil
	}
	// It still has the socket of the commands, and the account of the CA.
	if !existing {
		if err := os.MkdirAll(c.Data, 0o700); err != nil {
			return nil, err
		}
	}
	store, err := postgres.Open(ctx, c.Database.Reveal(), postgres.Options{Log: log, Existing: existing})
	if err != nil {
		return nil, err
	}
	return store, nil
}

// awaitMembership returns when a server of several may answer, or ctx ends.
func awaitMembership(ctx context.Context, store registry.Store) {
	shared, ok := store.(registry.Shared)
	if !ok {
		return
	}
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for !shared.Fresh() {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}
