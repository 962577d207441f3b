//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"cnamed/httpapi"
	"cnamed/registry"
)

// benchStorage measures updates and registrations over HTTP, each durable before
// it is answered, beside the same handler with no storage behind it: on a server
// with few accounts and on one with many, of which each update takes another.
func benchStorage(ctx context.Context, s settings) error {
	folder, err := os.MkdirTemp("", "cnamed-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	binary, err := buildCnamed(ctx, folder, s.profile)
	if err != nil {
		return err
	}
	bare, stopBare, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer stopBare()
	contenders := []apiLoad{{name: "bare handler", url: bare}}
	for _, n := range []int{s.small, s.large} {
		if n == 0 {
			continue
		}
		data := filepath.Join(folder, fmt.Sprint(n))
		if _, err := seed(ctx, data, n); err != nil {
			return fmt.Errorf("seeding %d accounts: %w", n, err)
		}
		t, server, err := startCnamed(ctx, s, binary, data)
		if err != nil {
			return err
		}
		defer t.stop()
		contenders = append(contenders, apiLoad{target: t, name: fmt.Sprintf("durable, %d accounts", n), url: server.API[0], accounts: seedAccounts(n)})
	}

	fmt.Printf("%-14s %-26s %12s %10s %10s %10s\n", "", "", "per second", "of bare", "p50", "p99")
	for _, test := range []struct {
		name      string
		registers bool
		clients   int
	}{
		{"updates", false, s.clients}, {"registrations", true, s.clients}, {"one client", false, 1},
	} {
		all := make([]apiResult, len(contenders))
		for range s.rounds {
			for i, l := range contenders {
				l.registers, l.clients = test.registers, test.clients
				r, err := l.run(ctx, s.duration)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", test.name, l.name, err)
				}
				all[i] = all[i].and(r)
			}
		}
		for i, r := range all {
			fmt.Printf("%-14s %-26s %12.0f %9.2fx %10v %10v\n", test.name, contenders[i].name, r.perSecond(), r.perSecond()/all[0].perSecond(),
				median(r.latencies).Round(10*time.Microsecond), quantile(r.latencies, 0.99).Round(10*time.Microsecond))
			l := contenders[i]
			if l.target == nil || s.profile == "" {
				continue
			}
			l.registers, l.clients = test.registers, test.clients
			file := strings.ReplaceAll(test.name+", "+l.name, " ", "-")
			if err := l.target.profile(ctx, s.profile, file, func() error { _, err := l.run(ctx, s.duration); return err }); err != nil {
				return err
			}
		}
	}
	return nil
}

// startBare starts the API with nothing behind it, in a process of its own.
func startBare(ctx context.Context) (url string, stop func(), err error) {
	cmd, line, err := startSelf(ctx, "bare-api")
	if err != nil {
		return "", nil, err
	}
	return line, func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, nil
}

// bareAPI is the real handler over a registry that authenticates as the real one
// does and stores nothing. It runs until it is killed.
func bareAPI(context.Context, settings) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := httptest.NewUnstartedServer(httpapi.New(bareRegistry{}, httpapi.Options{Domain: origin}))
	server.Listener = listener
	server.Start()
	fmt.Println(server.URL)
	select {}
}

type bareRegistry struct{}

func (bareRegistry) RegisterAs(context.Context, registry.Registration) (registry.Credentials, error) {
	password := registry.Password(strings.Repeat("x", 40))
	return registry.Credentials{Username: uuid.New(), Password: password, Subdomain: uuid.NewString(), AllowFrom: []string{}}, nil
}

func (bareRegistry) CheckToken(string) (string, error) { return "", registry.ErrToken }

func (bareRegistry) Update(_ context.Context, u registry.Update) error {
	if _, err := uuid.Parse(u.Username); err != nil {
		return registry.ErrForbidden
	}
	want, got := sha256.Sum256([]byte(strings.Repeat("x", 40))), sha256.Sum256([]byte(u.Password))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return registry.ErrForbidden
	}
	return nil
}

func (bareRegistry) Check(context.Context) error { return nil }

func (bareRegistry) Login(registry.Login) (*registry.Access, error) {
	return nil, registry.ErrForbidden
}
