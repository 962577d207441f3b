package acmeclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cnamed/test/ca"
)

// serve answers every request of a test with handler, on loopback HTTP.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &Client{Directory: server.URL + "/directory", Key: newKey(t, EC256), HTTPClient: server.Client()}
}

func TestNonsenseFromTheCAIsQuoted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		want   []string
	}{
		"an HTML page":       {200, "<html>\n<body>Welcome to nginx!</body></html>", []string{"not the JSON", "Welcome to nginx!"}},
		"an HTML error page": {404, "<html><h1>Not Found</h1></html>", []string{"404 Not Found", "not an ACME problem document", "<h1>"}},
		"garbage":            {200, "\x00\x1b[31m\xff\xfe", []string{"not the JSON", "??[31m??"}},
		"nothing":            {200, "", []string{"not the JSON"}},
		"other JSON":         {200, `{"hello": "world"}`, []string{"not an ACME directory", "hello"}},
		"a JSON list":        {400, `[1, 2]`, []string{"400 Bad Request", "[1, 2]"}},
		"too much":           {200, strings.Repeat("x", maxReply+1), []string{"larger than 1048576 bytes", "xxx"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				w.Write([]byte(test.body))
			})
			_, err := c.Discover(testContext(t))
			var unexpected *ResponseError
			if !errors.As(err, &unexpected) || unexpected.Status != test.status {
				t.Fatalf("error %#v, want a ResponseError with status %d", err, test.status)
			}
			for _, want := range append(test.want, c.Directory) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
			if len(err.Error()) > 500 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestUnreachableCAIsNamed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	c := &Client{Directory: "https://" + address + "/directory", Key: newKey(t, EC256)}
	_, err = c.Discover(testContext(t))
	if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "fetching directory") {
		t.Errorf("error %v", err)
	}
}

func TestUntrustedCAIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	authority := startCA(t, ca.Options{})
	c := &Client{Directory: authority.Directory(), Key: newKey(t, EC256)}
	start := time.Now()
	_, err := c.Discover(testContext(t))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestOnlyHTTPSExceptOnLoopback(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"https://ca.example/dir":  true,
		"http://ca.example/dir":   false,
		"http://127.0.0.1:1/dir":  true,
		"http://[::1]:1/dir":      true,
		"http://localhost/dir":    true,
		"http://127.0.0.1.nip.io": false,
		"ftp://127.0.0.1/":        false,
		"/dir":                    false,
		"":                        false,
		"https:///dir":            false,
		"https://ca.example\n/":   false,
	} {
		if err := checkURL(url); (err == nil) != ok {
			t.Errorf("checkURL(%q) = %v", url, err)
		}
	}
}

func TestSignedRequestIsNotRedirected(t *testing.T) {
	t.Parallel()
	var stolen atomic.Bool
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		base := "http://" + r.Host
		w.Header().Set("Replay-Nonce", "n")
		switch r.URL.Path {
		case "/directory":
			http.Redirect(w, r, "/real", http.StatusFound) // a GET may be
		case "/real":
			w.Write([]byte(`{"newNonce": "` + base + `/n", "newAccount": "` + base + `/a", "newOrder": "` + base + `/o"}`))
		case "/n":
		case "/a":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		default:
			stolen.Store(true)
		}
	})
	_, err := c.Register(testContext(t), AccountRequest{TermsAgreed: true})
	if err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("error %v", err)
	}
	if stolen.Load() {
		t.Error("the signed request went to another URL")
	}
}

func TestRequestsCarryWhatACMEWants(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if agent := r.UserAgent(); !strings.HasPrefix(agent, "cnamed/1.2 acmeclient (") {
			t.Errorf("User-Agent %q", agent)
		}
		http.NotFound(w, r)
	})
	c.UserAgent = "cnamed/1.2"
	if _, err := c.Discover(testContext(t)); err == nil {
		t.Error("no error")
	}
}

func TestDirectoryIsFetchedOnceAndAgainAfterFailure(t *testing.T) {
	t.Parallel()
	var fetches atomic.Int32
	authority := startCA(t, ca.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/dir" && fetches.Add(1) == 1 {
				http.Error(w, "not yet", http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	c := newClient(t, authority)
	if _, err := c.Discover(testContext(t)); err == nil {
		t.Fatal("no error at the first fetch")
	}
	newAccountClientOf(t, c)
	d, err := c.Discover(testContext(t))
	if err != nil || d.Meta.TermsOfService == "" {
		t.Errorf("directory %+v, error %v", d, err)
	}
	if n := fetches.Load(); n != 2 {
		t.Errorf("fetched %d times, want 2", n)
	}
}

func newAccountClientOf(t *testing.T, c *Client) {
	t.Helper()
	if _, err := c.Register(testContext(t), AccountRequest{TermsAgreed: true}); err != nil {
		t.Fatal(err)
	}
}

// A CA that accepts the connection and never answers must not hold anybody longer than their context.
func TestCancellationEndsAHangingRequest(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	c := serve(t, func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := c.Discover(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestConnectionThatBreaksIsRetried(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	authority := startCA(t, ca.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if requests.Add(1)%3 == 0 {
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	}})
	newAccountClientOf(t, newClient(t, authority))
}
