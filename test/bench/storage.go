//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"cnamed/httpapi"
	"cnamed/registry"
	"cnamed/test/program"
)

// account is what a client of the API keeps.
type account struct {
	Username, Password, Subdomain string
}

// benchStorage measures updates and registrations over HTTP, each durable before
// it is answered, beside the same handler with no storage behind it.
func benchStorage(ctx context.Context, s settings) error {
	folder, err := os.MkdirTemp("", "cnamed-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	binary, err := program.Build(ctx, folder)
	if err != nil {
		return err
	}
	t, server, err := startCnamed(ctx, s, binary, filepath.Join(folder, "data"))
	if err != nil {
		return err
	}
	defer t.stop()
	bare, stopBare, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer stopBare()

	type row struct {
		name      string
		url       string
		registers bool
		clients   int
	}
	fmt.Printf("%-28s %12s %10s %10s %10s\n", "", "per second", "of bare", "p50", "p99")
	for _, group := range [][]row{
		{{"bare handler, updates", bare, false, s.clients}, {"durable updates", server.API[0], false, s.clients}},
		{{"bare handler, registrations", bare, true, s.clients}, {"durable registrations", server.API[0], true, s.clients}},
		{{"bare handler, one client", bare, false, 1}, {"durable updates, one client", server.API[0], false, 1}},
	} {
		var reference float64
		for _, r := range group {
			rate, latencies, err := callAPI(ctx, r.url, r.registers, r.clients, s.duration)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if reference == 0 {
				reference = rate
			}
			fmt.Printf("%-28s %12.0f %9.2fx %10v %10v\n", r.name, rate, rate/reference,
				median(latencies).Round(10*time.Microsecond), quantile(latencies, 0.99).Round(10*time.Microsecond))
		}
	}
	return nil
}

// callAPI has each client call again as soon as it is answered.
func callAPI(ctx context.Context, url string, registers bool, clients int, duration time.Duration) (float64, []time.Duration, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	accounts := make([]account, clients)
	for i := range accounts {
		body, err := post(ctx, client, url+"/register", account{}, "")
		if err != nil {
			return 0, nil, err
		}
		if err := json.Unmarshal(body, &accounts[i]); err != nil {
			return 0, nil, err
		}
	}

	var mu sync.Mutex
	var all []time.Duration
	var firstErr error
	var group sync.WaitGroup
	start := time.Now()
	for i := range clients {
		group.Go(func() {
			var mine []time.Duration
			var err error
			for n := 0; err == nil && time.Since(start) < duration && ctx.Err() == nil; n++ {
				began := time.Now()
				if registers {
					_, err = post(ctx, client, url+"/register", account{}, "")
				} else {
					value := fmt.Sprintf("value_%016d_%020d", i, n)
					_, err = post(ctx, client, url+"/update", accounts[i], `{"subdomain":"`+accounts[i].Subdomain+`","txt":"`+value+`"}`)
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
			if firstErr == nil {
				firstErr = err
			}
		})
	}
	group.Wait()
	return float64(len(all)) / time.Since(start).Seconds(), all, firstErr
}

func post(ctx context.Context, client *http.Client, url string, a account, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if a.Username != "" {
		request.Header.Set("X-Api-User", a.Username)
		request.Header.Set("X-Api-Key", a.Password)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(reply))
	}
	return reply, err
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
