package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"cnamed/acmeclient/certdir/durable"
	"cnamed/config"
	"cnamed/dnsserver"
	"cnamed/registry"
)

// cookieSecretsFile is the file of cookie secrets in the data folder.
const cookieSecretsFile = "cookie-secrets"

// newDNSServer returns the server of zones, with the policy of c. Servers that share
// their store share its secrets too.
func newDNSServer(ctx context.Context, c *config.Config, zones *dnsserver.ZoneSet, store registry.Store, log *slog.Logger) (*dnsserver.Server, error) {
	shared, _ := store.(secretStore) // nil: this server is alone
	if shared != nil {
		if err := shareKeys(ctx, c, shared, log); err != nil {
			return nil, err
		}
	}
	keys, err := keyring(c)
	if err != nil {
		return nil, err
	}
	s := &dnsserver.Server{
		Zones:     zones,
		Keys:      keys,
		Log:       log,
		NoCookies: !c.DNS.Cookies,
		RateLimit: dnsserver.RateLimit{PerSecond: c.DNS.ReplyLimit, Exempt: c.DNS.ReplyLimitExempt},
		NSID:      c.DNS.NSID,
		Identity:  c.DNS.Identity,
		Version:   c.DNS.Version,
	}
	if shared != nil && c.DNS.ReplyLimit > 0 {
		if s.RateLimit.Key, err = sharedReplyLimitKey(ctx, shared); err != nil {
			return nil, err
		}
	}
	switch {
	case s.NoCookies:
	case shared != nil && c.DNS.CookieSecrets == "":
		s.CookieSecrets, err = sharedCookieSecrets(ctx, c, shared, log)
	default:
		s.CookieSecrets, err = cookieSecrets(c)
	}
	return s, err
}

// cookieSecrets reads the secrets of cookies from a file. One that the operator
// did not name is made, so that a restart does not void the cookies of all clients.
func cookieSecrets(c *config.Config) ([]dnsserver.CookieSecret, error) {
	path := c.DNS.CookieSecrets
	if path == "" {
		path = filepath.Join(c.Data, cookieSecretsFile)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && c.DNS.CookieSecrets == "" {
		text = []byte(dnsserver.NewCookieSecret().Reveal() + "\n")
		err = durable.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return nil, c.Problem("dns.cookie-secrets", 0, withHint(err, "without the setting the server makes a file of its own"))
	}
	secrets, err := parseCookieSecrets(path, text)
	if err != nil {
		return nil, c.Problem("dns.cookie-secrets", 0, err)
	}
	return secrets, nil
}

// parseCookieSecrets reads the secret that makes cookies, and perhaps another that
// is taken as well.
func parseCookieSecrets(where string, text []byte) (secrets []dnsserver.CookieSecret, err error) {
	for i, line := range strings.Fields(string(text)) {
		secret, err := dnsserver.ParseCookieSecret(line)
		if err != nil {
			return nil, withHint(fmt.Errorf("%s: secret %d: %w", where, i+1, err), "openssl rand -hex 16 makes one")
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) < 1 || len(secrets) > 2 {
		return nil, withHint(fmt.Errorf("%s has %d secrets", where, len(secrets)),
			"the first line is the secret that makes cookies, the second, if there is one, is taken as well")
	}
	return secrets, nil
}
