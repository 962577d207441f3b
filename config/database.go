package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

// Database is the URL of a shared database, or empty for the file in the data
// folder. Formatting, logging and encoding it leave the password out; Reveal
// gives all of it.
type Database string

// Reveal returns the URL with its password.
func (d Database) Reveal() string { return string(d) }

// String returns the URL without its password.
func (d Database) String() string {
	u, err := url.Parse(string(d))
	if err != nil || d == "" {
		return ""
	}
	query := u.Query()
	for _, key := range []string{"password", "sslpassword"} {
		if query.Has(key) {
			query.Set(key, "xxxxx")
		}
	}
	u.RawQuery = query.Encode()
	return u.Redacted()
}

// LogValue is String for slog.
func (d Database) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText is String for encoders.
func (d Database) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Format is String for every verb.
func (d Database) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) }

// parseDatabase takes "sqlite" or a URL. What is wrong is said without the value:
// it may have a password.
func parseDatabase(s string) (Database, error) {
	if s == "sqlite" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", &ValueError{"is neither sqlite nor the URL of a PostgreSQL database",
			"give it as postgres://user@host/database?sslmode=verify-full"}
	}
	return Database(s), nil
}
