package test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestIdleConnectionsDoNotStopService opens 1,000 connections to DNS and 1,000
// to the API, and says nothing, or half a request, on each.
func TestIdleConnectionsDoNotStopService(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := serve(t, t.TempDir())
	const idle = 1000
	open := func(address, text string) {
		for range idle {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatalf("connecting to %s: %v", address, err)
			}
			t.Cleanup(func() { conn.Close() })
			if _, err := io.WriteString(conn, text); err != nil {
				t.Logf("writing to %s: %v", address, err) // closed to make room
			}
		}
	}
	_, api, _ := strings.Cut(s.API[0], "://")
	open(s.DNS[0], "\x00")
	open(api, "POST /update HTTP/1.1\r\nHost: x\r\n")

	client := &http.Client{Timeout: 5 * time.Second}
	a, err := registerAccount(ctx, client, s.API[0])
	if err != nil {
		t.Fatalf("the API does not serve: %v", err)
	}
	if r, err := update(ctx, client, s.API[0], a, value(1)); err != nil || r.status != http.StatusOK {
		t.Fatalf("the API does not serve: %v %v", r, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	got, err := values(ctx, s.DNS[0], a.Subdomain)
	if err != nil || len(got) != 1 {
		t.Fatalf("DNS over TCP does not serve: %v %v", got, err)
	}
}
