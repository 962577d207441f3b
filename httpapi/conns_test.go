package httpapi_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"cnamed/httpapi"
)

// TestTooManyConnectionsCostTheIdlest: with room for two of a client, a third
// one is served and the one that has been idle the longest is closed.
func TestTooManyConnectionsCostTheIdlest(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httpapi.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }),
		MaxConns: 10, MaxConnsPerClient: 2, HeaderTimeout: time.Hour, ReadTimeout: time.Hour,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(t.Context(), listener) }()

	dial := func() net.Conn {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	// They are accepted in this order, and idle from then on.
	first, _, third := dial(), dial(), dial()
	if _, err := io.WriteString(third, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(third), nil); err != nil {
		t.Fatalf("a new connection is not served: %v", err)
	}
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection that was idle the longest is still open: %v", err)
	}
}
