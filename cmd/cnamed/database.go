package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"cnamed/config"
	"cnamed/registry"
	"cnamed/registry/postgres"
	"cnamed/registry/sqlite"
)

// openStore opens the database that is configured.
func openStore(ctx context.Context, c *config.Config, log *slog.Logger) (registry.Store, error) {
	if c.Database == "" {
		store, err := sqlite.Open(ctx, filepath.Join(c.Data, "cnamed.db"), sqlite.Options{Log: log})
		if err != nil {
			return nil, err
		}
		return store, nil
	}
	// It still has the socket of the commands, and the account of the CA.
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, err
	}
	store, err := postgres.Open(ctx, c.Database.Reveal(), postgres.Options{Log: log})
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
