package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"cnamed/config"
	"cnamed/dnsserver"
	"cnamed/registry"
)

// memoryStore is the part of a shared store that has the secrets.
type memoryStore struct {
	registry.Store

	mu      sync.Mutex
	secrets map[string]string
	fault   error // of every call, unless it is nil
	refused int   // calls of StoreSecret
}

func newMemoryStore() *memoryStore { return &memoryStore{secrets: map[string]string{}} }

func (m *memoryStore) setFault(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = err
}

func (m *memoryStore) hasRefused() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused > 0
}

func (m *memoryStore) Secret(ctx context.Context, name string, draw func() ([]byte, error)) ([]byte, error) {
	if value, err := m.LoadSecret(ctx, name); value != nil || err != nil {
		return value, err
	}
	value, err := draw()
	if err != nil {
		return nil, err
	}
	return value, m.StoreSecret(ctx, name, value)
}

func (m *memoryStore) LoadSecret(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if value, ok := m.secrets[name]; ok && m.fault == nil {
		return []byte(value), nil
	}
	return nil, m.fault
}

func (m *memoryStore) StoreSecret(_ context.Context, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		m.refused++
		return m.fault
	}
	m.secrets[name] = string(value)
	return nil
}

func (m *memoryStore) Alone(ctx context.Context, _ string, f func(context.Context) error) error {
	return f(ctx)
}

// settingsOn are the settings of a server on a shared database, and some more.
func settingsOn(t *testing.T, more map[string][]string) *config.Config {
	t.Helper()
	overrides := map[string]config.Override{}
	for key, values := range map[string][]string{
		"domain": {"auth.example.org"}, "ip": {"203.0.113.5"}, "data": {t.TempDir()}, "database": {"postgres://db.example.org/cnamed"},
	} {
		overrides[key] = config.Override{Values: values, From: "--" + key}
	}
	for key, values := range more {
		overrides[key] = config.Override{Values: values, From: "--" + strings.ReplaceAll(key, ".", "-")}
	}
	c, err := config.Load("", overrides)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dnsServerOn(t *testing.T, store registry.Store, more map[string][]string) (*dnsserver.Server, error) {
	t.Helper()
	return newDNSServer(t.Context(), settingsOn(t, more), dnsserver.NewZoneSet(), store, slog.New(slog.DiscardHandler))
}

// TestServersOfOneStoreHaveOneSecret: of cookies, and of the reply limits.
func TestServersOfOneStoreHaveOneSecret(t *testing.T) {
	t.Parallel()
	store := newMemoryStore()
	var servers []*dnsserver.Server
	for range 2 {
		s, err := dnsServerOn(t, store, nil)
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, s)
	}
	a, b := servers[0], servers[1]
	if len(a.CookieSecrets) != 1 || len(b.CookieSecrets) != 1 || a.CookieSecrets[0] != b.CookieSecrets[0] {
		t.Error("their secrets of cookies differ")
	}
	if a.RateLimit.Key == "" || a.RateLimit.Key != b.RateLimit.Key {
		t.Error("their keys of reply limits differ")
	}
	alone, err := dnsServerOn(t, nil, nil)
	if err != nil || alone.RateLimit.Key != "" || alone.CookieSecrets[0] == a.CookieSecrets[0] {
		t.Errorf("a server that is alone: %v", err)
	}
	if len(store.secrets) != 2 {
		t.Errorf("the database has %d secrets", len(store.secrets))
	}
}

// TestSharedCookiesAreThoseOfTheFile: the first server puts the file in its data
// folder into the database, if it is a valid one; later ones do not.
func TestSharedCookiesAreThoseOfTheFile(t *testing.T) {
	t.Parallel()
	const first, second = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f"
	for _, test := range []struct {
		files []string // of one server after the other
		want  string   // "": another
		warns int
	}{
		{[]string{first + "\n" + second + "\n", second + "\n"}, first + "\n" + second + "\n", 0},
		{[]string{"secret", first + "\n"}, "", 1},
		{[]string{""}, "", 1},
	} {
		store := newMemoryStore()
		var log bytes.Buffer
		for _, text := range test.files {
			c := settingsOn(t, nil)
			if err := os.WriteFile(filepath.Join(c.Data, cookieSecretsFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := newDNSServer(t.Context(), c, dnsserver.NewZoneSet(), store, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil || s.CookieSecrets[0].Reveal() != strings.Fields(store.secrets[cookieSecretName])[0] {
				t.Errorf("%q: the server has another secret than the database: %v", test.files, err)
			}
		}
		got := store.secrets[cookieSecretName]
		if test.want != "" && got != test.want || test.want == "" && slices.Contains(test.files, got) {
			t.Errorf("%q: the database has %q", test.files, got)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != test.warns || strings.Count(log.String(), " hint=") != n || strings.Contains(log.String(), "0f0f") {
			t.Errorf("%q: the log:\n%s", test.files, log.String())
		}
	}
}

// TestFaultOfSharedSecretsIsReported: a server does not start with secrets of its
// own because the database does not answer, or has something else there.
func TestFaultOfSharedSecretsIsReported(t *testing.T) {
	t.Parallel()
	fault := errors.New("silent")
	for name, more := range map[string]map[string][]string{
		"cookies":      {"dns.reply-limit": {"off"}},
		"reply limits": {"dns.cookies": {"off"}},
		"a key":        {"dns.keys": {"hmac-sha256:a.test:c2VjcmV0"}},
		"a rule":       {"dns.notify": {"192.0.2.1 key a.test"}},
	} {
		if _, err := dnsServerOn(t, &memoryStore{fault: fault}, more); !errors.Is(err, fault) {
			t.Errorf("%s: %v", name, err)
		}
	}
	rule := map[string][]string{"dns.notify": {"192.0.2.1 key a.test"}}
	for name, secret := range map[string]struct {
		name, value string
		more        map[string][]string
	}{
		"cookies": {"cookies", "leaked", nil},
		"a key":   {"TSIG key a.test", "leaked", rule},
		"another": {"TSIG key a.test", "hmac-sha256:b.test:c2VjcmV0", rule},
	} {
		store := newMemoryStore()
		store.secrets[secret.name] = secret.value
		_, err := dnsServerOn(t, store, secret.more)
		if err == nil || hintOf(err) == "" || strings.Contains(err.Error(), secret.value) || !strings.Contains(err.Error(), "the database") {
			t.Errorf("%s: %v (%s)", name, err, hintOf(err))
		}
	}
}

// TestKeysAreShared: one server has a key, all use it; settings win over the
// database, and are put there with a word in the log.
func TestKeysAreShared(t *testing.T) {
	t.Parallel()
	store := newMemoryStore()
	var text bytes.Buffer
	share := func(keys, rules []string) (*config.Config, error) {
		text.Reset()
		c := settingsOn(t, map[string][]string{"dns.keys": keys, "dns.transfer-to": rules, "dns.notify": {"192.0.2.1 key a.test"}})
		return c, shareKeys(t.Context(), c, store, slog.New(slog.NewTextHandler(&text, nil)))
	}
	revealed := func(c *config.Config) (all []string) {
		for _, k := range c.DNS.Keys {
			all = append(all, k.Reveal())
		}
		return all
	}
	const first, second = "hmac-sha256:a.test:Zmlyc3Q=", "hmac-sha512:a.test:c2Vjb25k"
	if _, err := share(nil, nil); err == nil || err.Error() != "--dns-notify: there is no key a.test" || !strings.HasSuffix(hintOf(err), "tsig-keygen a.test makes one, or start the server that has it first") {
		t.Errorf("a key that nobody has: %v", err)
	}
	for i, step := range []struct {
		keys, rules []string
		want        string
		says        bool
	}{
		{[]string{first}, nil, first, false},
		{nil, []string{"key a.test", "192.0.2.1 key a.test"}, first, false},
		{[]string{first}, nil, first, false},
		{[]string{second}, nil, second, true},
		{nil, nil, second, false},
	} {
		c, err := share(step.keys, step.rules)
		if got := revealed(c); err != nil || len(got) != 1 || got[0] != step.want {
			t.Errorf("step %d: %q, %v", i, got, err)
		}
		if says := strings.Contains(text.String(), "level=WARN") && strings.Contains(text.String(), "a.test"); says != step.says || strings.Contains(text.String(), "c2Vj") || strings.Contains(text.String(), "Zmly") {
			t.Errorf("step %d: the log says %q", i, text.String())
		}
	}
	if _, err := share(nil, []string{"key b.test"}); err == nil || err.Error() != "--dns-transfer-to: there is no key b.test" {
		t.Errorf("one of two keys is missing: %v", err)
	}
}
