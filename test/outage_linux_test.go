package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/postgres"
	"cnamed/test/program"
	"cnamed/test/world"
)

// TestServerSurvivesThatPostgreSQLIsAway: while the database is away the server
// goes on from memory as long as its lease lasts, and then says SERVFAIL for what
// another one may have changed; updates get 503 with a time to come back, and
// /health says so. When the database is there again, all is well by itself. Once
// it is killed, and once it is only silent.
func TestServerSurvivesThatPostgreSQLIsAway(t *testing.T) {
	t.Parallel()
	required(t, postgres.Binaries() != "", "there is no PostgreSQL")
	for name, fault := range map[string]struct {
		away, back func(*testing.T, *postgres.Server)
	}{
		"killed": {
			func(_ *testing.T, d *postgres.Server) { d.Kill() },
			func(t *testing.T, d *postgres.Server) {
				if err := d.Restart(testContext(t)); err != nil {
					t.Fatal(err)
				}
			}},
		"silent": {
			func(_ *testing.T, d *postgres.Server) { d.Pause() },
			func(_ *testing.T, d *postgres.Server) { d.Resume() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database, err := postgres.Start(testContext(t), "max_connections=20")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = database.Close() })
			s := serveOn(t, database.URL())
			f := &storeFault{server: s, client: &http.Client{}}
			t.Cleanup(f.client.CloseIdleConnections)
			ctx := testContext(t)
			if f.acct, err = registerAccount(ctx, f.client, s.API[0]); err != nil {
				t.Fatal(err)
			}
			if err := f.update(ctx); err != nil {
				t.Fatal(err)
			}

			fault.away(t, database)
			gone := time.Now()
			last := make(chan time.Duration, 1)
			go func() { last <- lastAnswer(ctx, f).Sub(gone) }()
			refusal, err := refusedUpdate(ctx, f)
			if err != nil || refusal.Header.Get("Retry-After") != "5" {
				t.Errorf("update: %v, %v", refusal, err)
			}
			eventually(t, func() error {
				if status, err := f.health(ctx); err != nil || status != http.StatusServiceUnavailable {
					return fmt.Errorf("/health: %d %w", status, err)
				}
				return nil
			})
			// The lease is of 5 s, from the last renewal, which was a second ago at most.
			served := <-last
			if served < 3*time.Second || served > 5500*time.Millisecond {
				t.Errorf("it answered from memory for %v", served)
			}
			if err := soa(ctx, "udp", s.DNS[0], world.Zone+"."); err != nil {
				t.Errorf("the rest of the zone: %v", err)
			}
			if r, err := refusedUpdate(ctx, f); err != nil || r.Header.Get("Retry-After") != "5" {
				t.Errorf("update without a lease: %v, %v", r, err)
			}

			fault.back(t, database)
			back := time.Now()
			eventually(t, func() error {
				if status, err := f.health(ctx); err != nil || status != http.StatusOK {
					return fmt.Errorf("/health: %d %w", status, err)
				}
				got, err := values(ctx, s.DNS[0], f.acct.Subdomain)
				if err == nil && !slices.Contains(got, value(1)) {
					t.Errorf("back again it serves %v", got)
				}
				return err
			})
			if err := f.update(ctx); err != nil {
				t.Errorf("update: %v", err)
			}
			t.Logf("it answered from memory for %v, and was back after %v", served, time.Since(back))
			if log := s.Log(); !strings.Contains(log, "again") {
				t.Errorf("the log does not tell that it is over:\n%s", log)
			}
		})
	}
}

// lastAnswer asks for the value until there is none, and returns when the last
// question was sent that was answered with it.
func lastAnswer(ctx context.Context, f *storeFault) (last time.Time) {
	for {
		sent := time.Now()
		got, err := values(ctx, f.server.DNS[0], f.acct.Subdomain)
		if err != nil || !slices.Contains(got, value(1)) {
			return last
		}
		last = sent
	}
}

// serveOn starts a server on a PostgreSQL database, and ends it with the test.
func serveOn(t *testing.T, database string) *program.Server {
	t.Helper()
	s, err := program.Start(testContext(t), binary, program.Options{Env: []string{"CNAMED_DATABASE=" + database}},
		serveArgs(t.TempDir())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

// refusedUpdate makes an update that must get 503.
func refusedUpdate(ctx context.Context, f *storeFault) (*http.Response, error) {
	body := fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, f.acct.Subdomain, value(1)) // as it is
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.server.API[0]+"/update", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Api-User", f.acct.Username)
	request.Header.Set("X-Api-Key", f.acct.Password)
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		return response, errors.New(response.Status)
	}
	return response, nil
}

// TestOperatorReachesPostgreSQL runs the commands of the operator on a database
// of PostgreSQL: an empty one, which they leave empty; then where no server runs
// any more, then on the machine of one of two servers: the other one knows at once.
func TestOperatorReachesPostgreSQL(t *testing.T) {
	t.Parallel()
	required(t, postgres.Binaries() != "", "there is no PostgreSQL")
	ctx := testContext(t)
	database, err := postgres.Start(ctx, "max_connections=40")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
	operator := func(data string, args ...string) string {
		t.Helper()
		return run(t, binary, append(args, "--database", database.URL(), "--data", data)...)
	}
	nowhere := t.TempDir()
	for range 2 { // the first makes nothing
		out, err := command(ctx, binary, "token", "list", "--database", database.URL(), "--data", nowhere)
		if err == nil || !strings.Contains(out, "no tables of cnamed") || !strings.Contains(out, "hint: start the server of this version first") {
			t.Errorf("token list on an empty database: %v\n%s", err, out)
		}
	}
	stop(t, serveOn(t, database.URL()))
	if out := operator(nowhere, "token", "list"); !strings.Contains(out, "no tokens") {
		t.Errorf("token list: %s", out)
	}
	create := func(data string) (id, token string) {
		out := operator(data, "token", "create", "--uses", "1")
		found := regexp.MustCompile(`(?ms)made token ([0-9a-f]{10}):.*^([a-z2-7]{32})$`).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("token create: %s", out)
		}
		return found[1], found[2]
	}
	_, token := create(nowhere)

	data := t.TempDir()
	process := program.Options{Env: []string{"CNAMED_DATABASE=" + database.URL()}}
	var servers []*program.Server
	for _, folder := range []string{data, t.TempDir()} {
		s, err := program.Start(ctx, binary, process, serveArgs(folder, "--api-registration", "token")...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(t, s) })
		servers = append(servers, s)
	}
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	a, err := registerAccount(ctx, client, servers[1].API[0]+"/t/"+token)
	if err != nil {
		t.Fatalf("registering: %v", err)
	}
	if out := operator(data, "token", "list"); !strings.Contains(out, "used up") {
		t.Errorf("token list: %s", out)
	}
	for _, folder := range []string{data, nowhere} { // through the server, and beside it
		if out := operator(folder, "account", "list"); !strings.Contains(out, a.Subdomain) {
			t.Errorf("account list: %s", out)
		}
		if out := operator(folder, "account", "show", a.Subdomain); !strings.Contains(out, a.Username) {
			t.Errorf("account show: %s", out)
		}
	}
	operator(data, "account", "delete", a.Subdomain)
	for i, s := range servers {
		if _, err := values(ctx, s.DNS[0], a.Subdomain); err == nil || !strings.Contains(err.Error(), dns.RcodeToString[dns.RcodeNameError]) {
			t.Errorf("server %d serves the deleted account: %v", i, err)
		}
	}
	id, token := create(data)
	operator(nowhere, "token", "revoke", id)
	for i, s := range servers {
		if _, err := registerAccount(ctx, client, s.API[0]+"/t/"+token); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("server %d takes the revoked token: %v", i, err)
		}
	}
}
