package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cnamed/httpapi"
	"cnamed/registry"
)

// proxied serves an API that answers an update with 200 if it comes from
// 192.0.2.5, behind a listener for the PROXY protocol.
func proxied(t *testing.T, trusted string, config *tls.Config) (addr string, log lines) {
	t.Helper()
	log = make(lines, 16)
	h := httpapi.New(&fake{update: func(_ context.Context, u registry.Update) error {
		if u.Source != netip.MustParseAddr("192.0.2.5") {
			return registry.ErrForbidden
		}
		return nil
	}}, httpapi.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- (&httpapi.Server{Handler: h, TLS: config}).Serve(ctx, &httpapi.ProxyListener{
			Listener: l, Trusted: []netip.Prefix{netip.MustParsePrefix(trusted)}, Timeout: 100 * time.Millisecond,
			Log: slog.New(slog.NewTextHandler(log, nil)),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), log
}

// lines is a log whose lines the test receives.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// header is one of version 2, for a client at 192.0.2.5.
func header(versionCommand byte) string {
	h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), versionCommand, 0x11, 0, 12, 192, 0, 2, 5, 192, 0, 2, 6)
	return string(binary.BigEndian.AppendUint32(h, 4711<<16|443))
}

const updateRequest = "POST /update HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"

// ask sends text and returns the status of the reply, or 0 where there is none.
func ask(t *testing.T, addr, preface string, config *tls.Config) int {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, preface); err != nil {
		t.Fatal(err)
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	_, _ = io.WriteString(conn, updateRequest)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

func TestProxyProtocolSaysWhoAsks(t *testing.T) {
	t.Parallel()
	addr, _ := proxied(t, "127.0.0.0/8", nil)
	for name, test := range map[string]struct {
		preface string
		want    int
	}{
		"PROXY":           {header(0x21), 200},
		"LOCAL":           {header(0x20), 401},
		"version 1":       {"PROXY TCP4 192.0.2.5 192.0.2.6 4711 443\r\n", 0},
		"no header":       {"", 0},
		"a second header": {header(0x21) + header(0x21), 400},
	} {
		if got := ask(t, addr, test.preface, nil); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestProxyProtocolOfAStrangerIsNoRequest(t *testing.T) {
	t.Parallel()
	addr, _ := proxied(t, "198.51.100.0/24", nil)
	if got := ask(t, addr, header(0x21), nil); got != 400 {
		t.Errorf("with a header: %d", got)
	}
	if got := ask(t, addr, "", nil); got != 401 {
		t.Errorf("without one: %d", got)
	}
}

func TestProxyProtocolComesBeforeTLS(t *testing.T) {
	t.Parallel()
	https := httptest.NewUnstartedServer(nil) // for its certificate
	https.StartTLS()
	defer https.Close()
	addr, _ := proxied(t, "127.0.0.0/8", https.TLS)
	trusting := &tls.Config{RootCAs: https.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}
	if got := ask(t, addr, header(0x21), trusting); got != 200 {
		t.Errorf("status %d", got)
	}
}

// What the header took of the time is not taken from what follows.
func TestProxyTimeoutEndsWithTheHeader(t *testing.T) {
	t.Parallel()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &httpapi.ProxyListener{Listener: plain, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	defer l.Close()
	proxy, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	if _, err := io.WriteString(proxy, header(0x21)+"x"); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var b [2]byte
	if n, err := conn.Read(b[:]); n != 1 || b[0] != 'x' || err != nil || conn.RemoteAddr().String() != "192.0.2.5:4711" {
		t.Errorf("read %q, %v from %v", b[:n], err, conn.RemoteAddr())
	}
}

// The bound on the connections of one client is about clients, not about proxies.
func TestClientsOfAProxyAreCountedApart(t *testing.T) {
	t.Parallel()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- (&httpapi.Server{Handler: httpapi.New(&fake{}, httpapi.Options{}), MaxConnsPerClient: 1}).Serve(ctx,
			&httpapi.ProxyListener{Listener: plain, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	var clients []*bufio.ReadWriter
	for _, client := range []byte{5, 6, 7} {
		conn, err := net.Dial("tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients = append(clients, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)))
		_, _ = clients[len(clients)-1].WriteString(strings.Replace(header(0x21), "\xc0\x00\x02\x05", "\xc0\x00\x02"+string(rune(client)), 1))
	}
	for range 2 { // all of them stay open
		for i, client := range clients {
			_, _ = client.WriteString(updateRequest)
			if err := client.Flush(); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(client.Reader, nil)
			if err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}
}

// Close waits for its goroutines, and for no proxy.
func TestProxyListenerCloses(t *testing.T) {
	t.Parallel()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &httpapi.ProxyListener{Listener: plain, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: time.Hour}
	slow, err := net.Dial("tcp", plain.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	good, err := net.Dial("tcp", plain.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	if _, err := io.WriteString(good, header(0x21)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept() // by now the slow one was accepted too
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got, err := slow.Read(make([]byte, 1)); got != 0 || err == nil {
		t.Errorf("the slow one reads %d, %v", got, err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err := io.WriteString(conn, "x"); err != nil {
		t.Errorf("what was accepted is cut off: %v", err)
	}
}

// A proxy that sends nothing is cut off, and keeps nobody waiting meanwhile.
func TestSlowProxyHeaderTimesOut(t *testing.T) {
	t.Parallel()
	addr, log := proxied(t, "127.0.0.0/8", nil)
	slow, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := io.WriteString(slow, header(0x21)[:15]); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, addr, header(0x21), nil); got != 200 {
		t.Errorf("beside it: %d", got)
	}
	if got, err := io.ReadAll(slow); err != nil || len(got) != 0 {
		t.Errorf("it got %q, %v", got, err)
	}
	if line := <-log; !strings.Contains(line, "client=127.0.0.1:") || !strings.Contains(line, "timeout") {
		t.Errorf("the log is %q", line)
	}
}
