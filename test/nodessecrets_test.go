//go:build linux

package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/postgres"
	"cnamed/test/program"
	"cnamed/test/world"
)

// startOn starts a server with a data folder of its own on a PostgreSQL database.
func startOn(t *testing.T, database *postgres.Server, data string, more ...string) (*program.Server, error) {
	t.Helper()
	s, err := program.Start(testContext(t), binary, program.Options{Env: []string{"CNAMED_DATABASE=" + database.URL()}},
		serveArgs(data, more...)...)
	if err == nil {
		t.Cleanup(func() { stop(t, s) })
	}
	return s, err
}

func startDatabase(t *testing.T) *postgres.Server {
	t.Helper()
	required(t, postgres.Binaries() != "", "there is no PostgreSQL")
	database, err := postgres.Start(testContext(t), "max_connections=40")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
	return database
}

// TestServersShareTheirCookies: a resolver takes the cookie of one server to all
// others of the database, as it would to one, and to one that is started again
// without the folder that it had. A file that is named wins.
func TestServersShareTheirCookies(t *testing.T) {
	t.Parallel()
	database := startDatabase(t)
	file := filepath.Join(t.TempDir(), "secrets")
	write(t, file, strings.Repeat("0f", 16)+"\n")
	serving := func(data string, more ...string) *program.Server {
		t.Helper()
		s, err := startOn(t, database, data, more...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	data := t.TempDir()
	first := serving(data)
	_, cookie := askCookie(t, first.DNS[0], clientCookie)
	second, named := serving(t.TempDir()), serving(t.TempDir(), "--dns-cookie-secrets", file)
	stop(t, first)
	third := serving(t.TempDir())
	for i, s := range []*program.Server{second, third} {
		if rcode, again := askCookie(t, s.DNS[0], cookie); rcode != dns.RcodeSuccess || again != cookie {
			t.Errorf("server %d: %s, cookie %s after %s", i+2, dns.RcodeToString[rcode], again, cookie)
		}
	}
	if rcode, _ := askCookie(t, named.DNS[0], cookie); rcode != dns.RcodeBadCookie {
		t.Errorf("the server with a file of its own: %s", dns.RcodeToString[rcode])
	}
	if _, err := os.Stat(filepath.Join(data, "cookie-secrets")); !os.IsNotExist(err) {
		t.Errorf("a file of secrets: %v", err)
	}
}

// transfer transfers the zone with a key.
func transfer(server, algorithm, secret string) error {
	m := new(dns.Msg).SetAxfr(world.Zone + ".")
	m.SetTsig(xfrKey+".", algorithm, 300, time.Now().Unix())
	envelopes, err := (&dns.Transfer{TsigSecret: map[string]string{xfrKey + ".": secret}}).In(m, server)
	if err != nil {
		return err
	}
	for e := range envelopes {
		if e.Error != nil && err == nil {
			err = e.Error
		}
	}
	return err
}

// TestServersShareTheirKeys: a TSIG key that one server is given lets a secondary
// transfer from all; another one that one is given replaces it for each that is
// started from then on. What no server has is an error, as on a server that is
// alone.
func TestServersShareTheirKeys(t *testing.T) {
	t.Parallel()
	database := startDatabase(t)
	const otherSecret = "YW5vdGhlciBzZWNyZXQsIG9mIHRoZSBsZW5ndGguLi4="
	rules := []string{"--dns-transfer-to", "key " + xfrKey}
	serving := func(data string, more ...string) *program.Server {
		t.Helper()
		s, err := startOn(t, database, data, append(more, rules...)...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	_, err := startOn(t, database, t.TempDir(), rules...)
	if err == nil || !strings.Contains(err.Error(), "error: --dns-transfer-to: there is no key "+xfrKey+"\n") ||
		!strings.Contains(err.Error(), "hint: name its file in key-files of [dns]; tsig-keygen "+xfrKey+" makes one") {
		t.Errorf("a key that no server has: %v", err)
	}

	data := t.TempDir()
	serving(t.TempDir(), "--dns-keys", "hmac-sha256:"+xfrKey+":"+xfrSecret)
	second := serving(data)
	if err := transfer(second.DNS[0], dns.HmacSHA256, xfrSecret); err != nil {
		t.Errorf("from the server that was not given the key: %v", err)
	}
	if err := transfer(second.DNS[0], dns.HmacSHA256, otherSecret); err == nil {
		t.Error("any secret will do")
	}

	third := serving(t.TempDir(), "--dns-keys", "hmac-sha512:"+xfrKey+":"+otherSecret)
	if log := third.Log(); !strings.Contains(log, "replaces another") || !strings.Contains(log, "key="+xfrKey) || strings.Contains(log, otherSecret) {
		t.Errorf("the log:\n%s", log)
	}
	if err := transfer(second.DNS[0], dns.HmacSHA256, xfrSecret); err != nil {
		t.Errorf("from a server before its restart: %v", err)
	}
	stop(t, second)
	second = serving(data)
	for i, s := range []*program.Server{second, third} {
		if err := transfer(s.DNS[0], dns.HmacSHA512, otherSecret); err != nil {
			t.Errorf("server %d, with the new secret: %v", i+2, err)
		}
		if err := transfer(s.DNS[0], dns.HmacSHA256, xfrSecret); err == nil {
			t.Errorf("server %d takes the old secret", i+2)
		}
	}
}
