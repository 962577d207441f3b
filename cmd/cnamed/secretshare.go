package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"cnamed/config"
	"cnamed/dnsserver"
)

// secretStore is what several servers share their secrets by. The PostgreSQL store
// is one. Its calls end by themselves, also where the database is silent.
type secretStore interface {
	// Secret returns the secret with a name. Where there is none it is made by
	// draw; all servers get the same.
	Secret(ctx context.Context, name string, draw func() ([]byte, error)) ([]byte, error)
	// LoadSecret returns the secret with a name, or nil.
	LoadSecret(ctx context.Context, name string) ([]byte, error)
	StoreSecret(ctx context.Context, name string, value []byte) error
}

// The names of shared secrets, beside that of the API's certificate.
const (
	cookieSecretName  = "cookies" // as in the file
	replyLimitKeyName = "reply limit"
)

// keySecretName is the name of the secret that is a TSIG key, as config.ParseKey
// takes it.
func keySecretName(key string) string { return "TSIG key " + key }

// sharedCookieSecrets returns the secrets of cookies that the servers of a database
// have in common. The first server takes those of the file in its data folder, from
// before it had a database.
func sharedCookieSecrets(ctx context.Context, c *config.Config, store secretStore, log *slog.Logger) ([]dnsserver.CookieSecret, error) {
	text, err := store.Secret(ctx, cookieSecretName, func() ([]byte, error) {
		path := filepath.Join(c.Data, cookieSecretsFile)
		text, err := os.ReadFile(path)
		if err == nil {
			_, err = parseCookieSecrets(path, text)
		}
		switch {
		case err == nil:
			log.Info("the servers share the secret of cookies in the data folder from now on", "file", path)
			return text, nil
		case !errors.Is(err, fs.ErrNotExist):
			log.Warn("the secret of cookies in the data folder cannot be used, the servers share another", "err", err, "hint", hintOf(err))
		}
		return []byte(dnsserver.NewCookieSecret().Reveal() + "\n"), nil
	})
	if err != nil {
		return nil, fmt.Errorf("the secret of cookies: %w", err)
	}
	secrets, err := parseCookieSecrets("the database", text)
	if err != nil {
		return nil, withHint(err, "delete the row of "+cookieSecretName+" in the table secrets: the next start draws another")
	}
	return secrets, nil
}

// sharedReplyLimitKey returns the key of the reply limits that the servers of a
// database have in common.
func sharedReplyLimitKey(ctx context.Context, store secretStore) (dnsserver.Secret, error) {
	key, err := store.Secret(ctx, replyLimitKeyName, func() ([]byte, error) {
		drawn := make([]byte, 16)
		_, err := rand.Read(drawn)
		return drawn, err
	})
	if err != nil {
		return "", fmt.Errorf("the key of the reply limits: %w", err)
	}
	return dnsserver.Secret(key), nil
}

// shareKeys makes the TSIG keys of this server known to the others, and adds to its
// settings those of the others that its rules name. A key of the settings wins over
// one of the same name in the database, and replaces it there.
func shareKeys(ctx context.Context, c *config.Config, store secretStore, log *slog.Logger) error {
	for _, k := range c.DNS.Keys {
		if err := offerKey(ctx, k, store, log); err != nil {
			return fmt.Errorf("the key %s: %w", k.Name, err)
		}
	}
	for _, name := range c.MissingKeyNames() {
		text, err := store.LoadSecret(ctx, keySecretName(name))
		if err != nil {
			return fmt.Errorf("the key %s: %w", name, err)
		}
		if text == nil {
			continue
		}
		k, err := config.ParseKey(string(text))
		if err == nil && k.Name != name {
			err = fmt.Errorf("it is the key %s", k.Name)
		}
		if err != nil {
			return withHint(fmt.Errorf("the key %s in the database: %w", name, err),
				"start a server that has the key in its settings: it replaces the one in the database")
		}
		c.DNS.Keys = append(c.DNS.Keys, k)
	}
	if missing := c.MissingKeys(); len(missing) > 0 {
		return missing
	}
	return nil
}

// offerKey puts a key into the database, unless it is there.
func offerKey(ctx context.Context, k config.Key, store secretStore, log *slog.Logger) error {
	text := k.Reveal()
	known, err := store.Secret(ctx, keySecretName(k.Name), func() ([]byte, error) { return []byte(text), nil })
	if err != nil || string(known) == text {
		return err
	}
	if err := store.StoreSecret(ctx, keySecretName(k.Name), []byte(text)); err != nil {
		return err
	}
	log.Warn("the key of this server's settings replaces another of its name in the database; restart the servers that took that one",
		"key", k.Name)
	return nil
}
