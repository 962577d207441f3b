package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cnamed/httpapi"
	"cnamed/registry"
	"cnamed/registry/sqlite"
)

// newRegistry opens a registry on a file of its own.
func newRegistry(t testing.TB) *registry.Registry {
	t.Helper()
	store, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "cnamed.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(context.Background(), store, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// serve serves h on a port of its own until the test ends.
func serve(t testing.TB, h http.Handler) (addr string) {
	t.Helper()
	return serveWith(t, &httpapi.Server{Handler: h})
}

func serveWith(t testing.TB, s *httpapi.Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return l.Addr().String()
}

// fake is a registry whose answers the test chooses.
type fake struct {
	err    error
	update func(context.Context, registry.Update) error
}

func (f *fake) RegisterAs(context.Context, registry.Registration) (registry.Credentials, error) {
	return registry.Credentials{AllowFrom: []string{}}, f.err
}

func (f *fake) CheckToken(string) (string, error) { return "id", nil }

func (f *fake) Update(ctx context.Context, u registry.Update) error {
	if f.update != nil {
		return f.update(ctx, u)
	}
	return f.err
}

func (f *fake) Login(registry.Login) (*registry.Access, error) { return nil, f.err }

func (f *fake) Check(context.Context) error { return f.err }

func do(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func TestFailuresOfTheStoreAreAnswered(t *testing.T) {
	t.Parallel()
	secret := errors.New("disk /var/lib/secret failed")
	for _, test := range []struct {
		err                     error
		status                  int
		body, retry, healthBody string
	}{
		{errors.Join(registry.ErrStore, secret), 500, `{"error": "db_error"}`, "", `{"error": "unhealthy"}`},
		{secret, 500, `{"error": "db_error"}`, "", `{"error": "unhealthy"}`},
		{registry.ErrOverloaded, 503, `{"error": "overloaded"}`, "1", `{"error": "unhealthy"}`},
	} {
		var log bytes.Buffer
		h := httpapi.New(&fake{err: test.err}, httpapi.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		for _, path := range []string{"/register", "/update", "/v1/account/password"} {
			w := do(h, "POST", path, "{}")
			if w.Code != test.status || w.Body.String() != test.body || w.Header().Get("Retry-After") != test.retry {
				t.Errorf("%s: %d %s %v", path, w.Code, w.Body, w.Header())
			}
		}
		w := do(h, "GET", "/health", "")
		if w.Code != 503 || w.Body.String() != test.healthBody {
			t.Errorf("health: %d %s", w.Code, w.Body)
		}
		if got := strings.Count(log.String(), test.err.Error()); got == 0 && !strings.Contains(log.String(), "secret") {
			t.Errorf("the cause is not in the log: %s", log.String())
		}
	}
}

func TestLogHasTheClientAndNoSecrets(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	observed := make(chan httpapi.Observation, 4)
	addr := serve(t, httpapi.New(newRegistry(t), httpapi.Options{
		Domain:  "auth.example.org",
		Log:     slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe: func(o httpapi.Observation) { observed <- o },
	}))
	var c struct{ Username, Password, Subdomain string }
	post(t, addr, "/register", "", nil, &c)
	txt := strings.Repeat("v", 43)
	body := `{"subdomain":"` + c.Subdomain + `","txt":"` + txt + `"}`
	post(t, addr, "/update", body, map[string]string{"X-Api-User": c.Username, "X-Api-Key": c.Password}, nil)
	post(t, addr, "/update", body, map[string]string{"X-Api-User": c.Username, "X-Api-Key": "wrong-" + c.Password}, nil)
	post(t, addr, "/"+strings.Repeat("x", 500), "", nil, nil)

	for i, want := range []httpapi.Observation{
		{Endpoint: "register", Status: 201}, {Endpoint: "update", Status: 200},
		{Endpoint: "update", Status: 401, Code: "forbidden"}, {Endpoint: "other", Status: 404, Code: "not_found"},
	} {
		got := <-observed // after the line in the log
		if got.Duration <= 0 {
			t.Errorf("observation %d took no time", i)
		}
		if got.Duration = 0; got != want {
			t.Errorf("observed %+v, want %+v", got, want)
		}
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines: %s", len(lines), log.String())
	}
	for _, line := range lines {
		if !strings.Contains(line, `"client":"127.0.0.1"`) || len(line) > 500 {
			t.Errorf("line %s", line)
		}
	}
	for _, secret := range []string{c.Password, c.Username, c.Subdomain, txt} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in the log: %s", secret, log.String())
		}
	}
}

// The log names a token by its ID, and its holder cannot make it name another
// client.
func TestLogHidesTokensAndShowsTheClient(t *testing.T) {
	t.Parallel()
	reg := newRegistry(t)
	token, secret, err := reg.CreateToken(t.Context(), registry.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	log := make(lines, 16)
	h := httpapi.New(reg, httpapi.Options{
		Registration:   httpapi.RegistrationToken,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, ProxyHeader: httpapi.ProxyForwardedFor,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	for _, test := range []struct{ path, want string }{
		{"/t/" + secret.Reveal() + "/register", " client=198.51.100.9 status=201 method=POST path=/t/-/register took="},
		{"//t/" + secret.Reveal() + "//update", " client=198.51.100.9 status=401 code=forbidden method=POST path=/t/-/update took="},
		{"/api/t/" + secret.Reveal() + "/register", " client=198.51.100.9 status=404 code=not_found method=POST path=/api/t/-/register took="},
		{"/t/" + secret.Reveal(), " client=198.51.100.9 status=404 code=not_found method=POST path=/t/- took="},
		{"/x%20msg=request%20client=203.0.113.1%20status=401", ` client=198.51.100.9 status=404 code=not_found method=POST path="/x msg=request `},
	} {
		r := httptest.NewRequest("POST", test.path, nil)
		r.Header.Set("X-Forwarded-For", "203.0.113.1, 198.51.100.9")
		h.ServeHTTP(httptest.NewRecorder(), r)
		line := <-log
		if !strings.Contains(line, " msg=request"+test.want) || strings.Contains(line, secret.Reveal()) {
			t.Errorf("%s: %s", test.want, line)
		}
		if strings.Contains(line, "status=201") != strings.Contains(line, " token="+token.ID) {
			t.Errorf("the token of a registration: %s", line)
		}
	}
}

func post(t *testing.T, addr, path, body string, header map[string]string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(reply, into); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPanicIsAnswered(t *testing.T) {
	t.Parallel()
	log := make(lines, 16)
	h := httpapi.New(&fake{update: func(context.Context, registry.Update) error { panic("oh") }},
		httpapi.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if w := do(h, "POST", "/update", "{}"); w.Code != 500 || w.Body.String() != `{"error": "internal_error"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if line := <-log; !strings.Contains(line, "panic=oh") || !strings.Contains(line, " client=192.0.2.1 ") {
		t.Errorf("the log is %q", line)
	}
	if w := do(h, "GET", "/health", ""); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
}

func TestLargeBodyIsRefused(t *testing.T) {
	t.Parallel()
	addr := serve(t, httpapi.New(newRegistry(t), httpapi.Options{}))
	for _, chunked := range []bool{false, true} {
		var body io.Reader = strings.NewReader(strings.Repeat(" ", httpapi.MaxBody+1))
		if chunked {
			body = io.MultiReader(body) // hides the length
		}
		res, err := http.Post("http://"+addr+"/register", "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 413 || string(reply) != `{"error": "payload_too_large"}` {
			t.Errorf("%d %s %v", res.StatusCode, reply, err)
		}
	}
}

func TestLargeHeaderIsRefused(t *testing.T) {
	t.Parallel()
	addr := serve(t, httpapi.New(&fake{}, httpapi.Options{}))
	for size, want := range map[int]int{8 << 10: 200, 21 << 10: 431} {
		req, err := http.NewRequest("GET", "http://"+addr+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Large", strings.Repeat("x", size))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%d bytes: %d, want %d", size, res.StatusCode, want)
		}
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	addr := serveWith(t, &httpapi.Server{
		Handler:       httpapi.New(newRegistry(t), httpapi.Options{}),
		HeaderTimeout: 20 * time.Millisecond, ReadTimeout: 40 * time.Millisecond, IdleTimeout: 20 * time.Millisecond,
	})
	for name, test := range map[string]struct{ send, want string }{
		"nothing":     {"", ""},
		"slow header": {"POST /register HT", ""},
		"slow body":   {"POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", `{"error": "request_timeout"}`},
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, test.send); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(conn) // until the server hangs up
		conn.Close()
		if !strings.HasSuffix(string(got), test.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestIdleConnectionsDoNotStopService(t *testing.T) {
	t.Parallel()
	addr := serve(t, httpapi.New(&fake{}, httpapi.Options{}))
	for range 1000 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Skipf("this machine does not allow so many: %v", err)
		}
		defer conn.Close()
	}
	res, err := http.Get("http://" + addr + "/health")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestServeDrains(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	h := httpapi.New(&fake{update: func(context.Context, registry.Update) error {
		close(entered)
		<-leave
		return nil
	}}, httpapi.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- (&httpapi.Server{Handler: h}).Serve(ctx, l) }()
	status := make(chan int, 1)
	go func() {
		res, err := http.Post("http://"+l.Addr().String()+"/update", "", strings.NewReader("{}"))
		if err != nil {
			status <- 0
			return
		}
		res.Body.Close()
		status <- res.StatusCode
	}()
	<-entered
	cancel()
	for { // new connections are refused while the old request goes on
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-served:
		t.Errorf("Serve returned before the request was done: %v", err)
	default:
	}
	close(leave)
	if got := <-status; got != 200 {
		t.Errorf("the request under way: %d", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestServeReportsAFailedListener(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := (&httpapi.Server{Handler: http.NotFoundHandler()}).Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}
