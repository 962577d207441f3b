package main

import (
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
)

// cookieSecretsFile is the file of cookie secrets in the data folder.
const cookieSecretsFile = "cookie-secrets"

// newDNSServer returns the server of zones, with the policy of c.
func newDNSServer(c *config.Config, zones *dnsserver.ZoneSet, log *slog.Logger) (*dnsserver.Server, error) {
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
	if s.NoCookies {
		return s, nil
	}
	s.CookieSecrets, err = cookieSecrets(c)
	return s, err
}

// cookieSecrets reads the secrets of cookies: the one that makes them, and
// perhaps another that is taken as well. A file that the operator did not name
// is made, so that a restart does not void the cookies of all clients.
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
	var secrets []dnsserver.CookieSecret
	for i, line := range strings.Fields(string(text)) {
		secret, err := dnsserver.ParseCookieSecret(line)
		if err != nil {
			return nil, c.Problem("dns.cookie-secrets", 0, withHint(fmt.Errorf("%s: secret %d: %w", path, i+1, err),
				"openssl rand -hex 16 makes one"))
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) < 1 || len(secrets) > 2 {
		return nil, c.Problem("dns.cookie-secrets", 0, withHint(fmt.Errorf("%s has %d secrets", path, len(secrets)),
			"the first line is the secret that makes cookies, the second, if there is one, is taken as well"))
	}
	return secrets, nil
}
