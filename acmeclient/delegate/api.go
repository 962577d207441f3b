package delegate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	maxReply       = 64 << 10
	attemptTimeout = 15 * time.Second
)

// API is a client of the HTTP API of cnamed and acme-dns servers. The fields must not be changed after the first call;
// then it is safe for concurrent use.
//
// A call is tried again after a connection that failed and after the replies 429 and 5xx, at the time that Retry-After
// gives or else after pauses that grow from 250 ms to 8 s, for as long as RetryFor and the context allow. An update can
// thus be made twice, which changes nothing; a registration too, which leaves credentials behind that nobody has.
// Redirects are not followed, since they would take the credentials elsewhere.
type API struct {
	// URL is the base to which /register and /update are added. It may have a path. Its user name and password are sent
	// as Basic authentication, for servers that ask for it in front of the API. http:// is only for loopback addresses.
	URL string
	// AllowHTTP allows http:// to any address: the credentials cross the network in clear.
	AllowHTTP bool
	// RootCAs verifies the server's certificate. Nil means the system's roots.
	RootCAs *x509.CertPool
	// Proxy finds the HTTP proxy for a request. Nil means none.
	Proxy func(*http.Request) (*url.URL, error)
	// HTTPClient is used instead of one that is made of RootCAs and Proxy, if it is not nil.
	HTTPClient *http.Client
	UserAgent  string
	// RetryFor bounds the time in which a call is tried again. Zero means 30 seconds; a negative value, one attempt.
	RetryFor time.Duration
	Log      *slog.Logger // told about each retry; nil discards

	once   sync.Once
	client *http.Client
}

// Register makes credentials for one name. Updates will be accepted from the prefixes allowFrom, in CIDR form; none
// means from anywhere.
func (a *API) Register(ctx context.Context, allowFrom []string) (Record, error) {
	base, err := a.base(a.URL)
	if err != nil {
		return Record{}, err
	}
	body := []byte("{}")
	if len(allowFrom) > 0 {
		if body, err = json.Marshal(map[string][]string{"allowfrom": allowFrom}); err != nil {
			return Record{}, err
		}
	}
	call := call{endpoint: base.JoinPath("register"), user: base.User, body: body}
	reply, err := a.do(ctx, call)
	if err != nil {
		return Record{}, fmt.Errorf("registering: %w", err)
	}
	var r Record
	if err := json.Unmarshal(reply, &r); err != nil {
		return Record{}, &ReplyError{call.address(), fmt.Errorf("it is no JSON object of a registration: %w", err)}
	}
	if err := checkRegistration(r); err != nil {
		return Record{}, &ReplyError{call.address(), err}
	}
	base.User = nil
	r.ServerURL = base.String()
	return r, nil
}

// checkRegistration keeps a confused server from having us print, and store, nonsense.
func checkRegistration(r Record) error {
	zone, ok := strings.CutPrefix(strings.TrimSuffix(r.FullDomain, "."), r.Subdomain+".")
	switch {
	case r.Subdomain == "" || strings.ContainsAny(r.FullDomain, " \t\r\n\"();\\"):
		return errors.New("subdomain or fulldomain is no domain name")
	case !ok || zone == "":
		return fmt.Errorf("fulldomain %q is not a name below subdomain %q", r.FullDomain, r.Subdomain)
	case r.Username == "" || r.Password == "":
		return errors.New("username or password is missing")
	}
	return nil
}

// Update makes txt the newest value of r's name, at the server that r names, or at URL when it names none.
func (a *API) Update(ctx context.Context, r Record, txt string) error {
	address := r.ServerURL
	if address == "" || a.Is(address) {
		address = a.URL // with its user name and password
	}
	base, err := a.base(address)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"subdomain": r.Subdomain, "txt": txt})
	if err != nil {
		return err
	}
	_, err = a.do(ctx, call{endpoint: base.JoinPath("update"), user: base.User, body: body, record: &r})
	if err != nil {
		return fmt.Errorf("updating %s: %w", r.FullDomain, err)
	}
	return nil
}

// Is says whether address, as in the ServerURL of a Record, is that of this API. User names and passwords do not matter.
func (a *API) Is(address string) bool {
	one, err := url.Parse(a.URL)
	other, otherErr := url.Parse(address)
	return err == nil && otherErr == nil && one.Scheme == other.Scheme && strings.EqualFold(one.Host, other.Host) &&
		strings.Trim(one.Path, "/") == strings.Trim(other.Path, "/")
}

// String returns the address of the API without its password.
func (a *API) String() string {
	u, err := url.Parse(a.URL)
	if err != nil {
		return "an address that does not parse"
	}
	u.User = nil
	return u.String()
}

// base parses the address of a server.
func (a *API) base(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, &AddressError{Reason: "it does not parse"} // the error would quote the password
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, &AddressError{u.Redacted(), "it must begin with https:// and a host name"}
	case u.RawQuery != "" || u.Fragment != "":
		return nil, &AddressError{u.Redacted(), "it must have no query and no fragment"}
	case u.Scheme == "http" && !a.AllowHTTP && !isLoopback(u.Hostname()):
		return nil, &AddressError{u.Redacted(), reasonClear}
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") // RFC 6761 §6.3
}

// call is one request, which may be sent several times.
type call struct {
	endpoint *url.URL
	user     *url.Userinfo
	body     []byte
	record   *Record // whose credentials are sent; nil: none
}

// address is the endpoint as it may be shown.
func (c call) address() string {
	shown := *c.endpoint
	shown.User = nil
	return shown.String()
}

// send makes one attempt and returns the body of a good reply.
func (a *API) send(ctx context.Context, c call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.address(), bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if a.UserAgent != "" {
		req.Header.Set("User-Agent", a.UserAgent)
	}
	if c.user != nil {
		password, _ := c.user.Password()
		req.SetBasicAuth(c.user.Username(), password)
	}
	if c.record != nil {
		req.Header.Set("X-Api-User", c.record.Username)
		req.Header.Set("X-Api-Key", c.record.Password.Reveal())
	}
	resp, err := a.httpClient().Do(req)
	if err != nil {
		return nil, &ConnectError{URL: c.address(), Err: unwrapURL(err)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, &ConnectError{URL: c.address(), Err: err}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, newAPIError(c, resp, body)
	}
	if len(body) > maxReply {
		return nil, &ReplyError{c.address(), fmt.Errorf("it is longer than %d octets", maxReply)}
	}
	return body, nil
}

// unwrapURL takes the method and the address off, which ConnectError has.
func unwrapURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func (a *API) httpClient() *http.Client {
	a.once.Do(func() {
		a.client = &http.Client{}
		if a.HTTPClient != nil {
			*a.client = *a.HTTPClient
		} else {
			a.client.Transport = &http.Transport{
				Proxy:                 a.Proxy,
				DialContext:           (&net.Dialer{Timeout: attemptTimeout}).DialContext,
				TLSClientConfig:       &tls.Config{RootCAs: a.RootCAs, MinVersion: tls.VersionTLS12},
				ForceAttemptHTTP2:     true,
				IdleConnTimeout:       30 * time.Second,
				ResponseHeaderTimeout: attemptTimeout,
			}
		}
		a.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	})
	return a.client
}
