package main

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"cnamed/config"
	"cnamed/registry"
	"cnamed/registry/sqlite"
)

// flagsFor are the flags of a command on a data folder.
func flagsFor(data string) *operatorFlags {
	f := &operatorFlags{}
	f.given.overrides = map[string]config.Override{"data": {Values: []string{data}, From: "--data"}}
	return f
}

func openData(t *testing.T, data string) *registry.Registry {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(data, "cnamed.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(t.Context(), store, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// serveOperator is a server on the data folder, until end is called.
func serveOperator(t *testing.T, data string) (end func()) {
	t.Helper()
	reg := openData(t, data)
	s := newOperatorServer(data, reg, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		s.Close()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
}

func listTokens(t *testing.T, data string) (all []tokenInfo, err error) {
	err = flagsFor(data).with(t.Context(), func(o *operator) error {
		return o.call(t.Context(), http.MethodGet, "/tokens", nil, &all)
	})
	return all, err
}

func createTokens(t *testing.T, data string, n int) {
	t.Helper()
	var crowd sync.WaitGroup
	for range n {
		crowd.Go(func() {
			err := flagsFor(data).with(t.Context(), func(o *operator) error {
				return o.call(t.Context(), http.MethodPost, "/tokens", tokenRequest{Note: "x"}, nil)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	crowd.Wait()
}

// Whether a server runs, has run, or starts meanwhile, commands do their work.
func TestCommandsReachTheRegistry(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	end := serveOperator(t, data)
	defer end()
	createTokens(t, data, 4)
	end()
	if _, err := os.Stat(filepath.Join(data, operatorSocket)); err == nil {
		t.Error("the socket is still there")
	}
	createTokens(t, data, 4) // one after the other has the database
	again := serveOperator(t, data)
	defer again()
	if all, err := listTokens(t, data); err != nil || len(all) != 8 {
		t.Errorf("%d tokens, %v", len(all), err)
	}
}

// TestCommandDoesNotMigrate: that is the server's to do.
func TestCommandDoesNotMigrate(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if err := openData(t, data).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(data, "cnamed.db"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `PRAGMA user_version = 1`)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := listTokens(t, data); err == nil || !strings.Contains(err.Error(), "older version of cnamed: it has schema 1") ||
		!strings.Contains(hintOf(err), "start the server of this version") {
		t.Errorf("%v", err)
	}
}

func TestSocketIsForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes on Windows")
	}
	data := t.TempDir()
	defer serveOperator(t, data)()
	info, err := os.Stat(filepath.Join(data, operatorSocket))
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left, err := os.ReadDir(data); err != nil || strings.Contains(left[0].Name(), ".control") {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A server that was killed leaves its socket. The next one replaces it, and until
// then it keeps no command from its work.
func TestSocketOfAKilledServerIsNoObstacle(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if err := openData(t, data).Close(); err != nil {
		t.Fatal(err)
	}
	dead, err := listenPrivately(filepath.Join(data, operatorSocket))
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	if _, err := os.Stat(filepath.Join(data, operatorSocket)); err != nil {
		t.Fatal(err)
	}
	createTokens(t, data, 1)
	defer serveOperator(t, data)()
	if all, err := listTokens(t, data); err != nil || len(all) != 1 {
		t.Errorf("%d tokens, %v", len(all), err)
	}
}

func TestServerThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	reg := openData(t, data) // the database is in use, and there is no socket
	defer reg.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := flagsFor(data).connect(ctx)
	if err == nil || !strings.Contains(err.Error(), "does not answer") || hintOf(err) == "" {
		t.Errorf("connect: %v", err)
	}
}

func TestServerWithoutASocketServes(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	reg := openData(t, data)
	defer reg.Close()
	var log strings.Builder
	s := newOperatorServer(data, reg, slog.New(slog.NewTextHandler(&log, nil)))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(ctx); err != nil || !strings.Contains(log.String(), "will not reach this server") {
		t.Errorf("%v, %s", err, log.String())
	}
}

// What answers at the socket may be anything after an upgrade.
func TestStrangeAnswersAreErrors(t *testing.T) {
	t.Parallel()
	pipe := newPipeListener()
	server := &http.Server{Handler: http.NotFoundHandler()}
	served := make(chan error, 1)
	go func() { served <- server.Serve(pipe) }()
	o := newOperator(pipe.dial, func() error { return server.Close() })
	err := o.call(t.Context(), http.MethodGet, "/tokens", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "404") || !strings.Contains(hintOf(err), "same version") {
		t.Errorf("call: %v", err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	<-served
	if _, err := pipe.dial(t.Context(), "", ""); err != net.ErrClosed {
		t.Errorf("dial after the end: %v", err)
	}
}

func TestExpiryForms(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for s, want := range map[string]time.Time{
		"": {}, "12h": now.Add(12 * time.Hour), "30d": now.AddDate(0, 0, 30), "90m": now.Add(90 * time.Minute),
		"2027-01-01": time.Date(2027, 1, 1, 0, 0, 0, 0, time.Local), "2027-01-01T10:00:00Z": time.Date(2027, 1, 1, 10, 0, 0, 0, time.UTC),
	} {
		if got, err := parseExpiry(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"soon", "30", "-1d", "1.5d", "2027-13-01"} {
		if got, err := parseExpiry(s, now); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}
