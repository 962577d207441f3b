// Package httpapi is the HTTP API: it registers accounts, takes updates of
// their TXT values, and says whether the server is well. It speaks the protocol
// of acme-dns byte for byte where a client depends on it, and knows no DNS.
//
//	POST /register   {"allowfrom": ["192.0.2.0/24"]}, or nothing    201
//	POST /update     {"subdomain": "…", "txt": "…"}                 200
//	                 X-Api-User and X-Api-Key carry the credentials
//	GET  /health                                                    200, 503
//	     /v1/…       what the owner of an account does with it, see openapi.json
//
// Where a registration token is asked for, it comes in a header, as Basic
// authentication, or in the path: all three are answered below /t/TOKEN too.
// Who registers too often, or fails too often to authenticate, is answered 429.
//
// Every body is one line of JSON, and errors are {"error": "<code>"} with codes
// from a closed set; clients read both with sed and grep. The Content-Type of a
// request means nothing. A path is cleaned in place, since a redirect would
// lose the method: //update and /register/ are answered. Only what is to be
// deleted must be named as it is.
//
// No text of a request or of the store comes back in an error.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"cnamed/registry"
)

// MaxBody is the largest request body, in bytes. Larger ones are answered 413.
const MaxBody = 16 << 10

// Registry is what the API needs of a registry. *registry.Registry has it.
type Registry interface {
	RegisterAs(ctx context.Context, g registry.Registration) (registry.Credentials, error)
	CheckToken(secret string) (id string, err error)
	Update(ctx context.Context, u registry.Update) error
	Check(ctx context.Context) error
	Login(l registry.Login) (*registry.Access, error)
}

// Options of the API.
type Options struct {
	// Domain is the zone's origin; the full domain of an account is a label
	// below it. A trailing dot is ignored.
	Domain string
	// Registration is who may register. The zero value: everybody.
	Registration RegistrationMode
	// ChosenNames lets a registration choose its subdomain. Otherwise the wish
	// is ignored, as clients are used to.
	ChosenNames bool
	// Reserved says which names, in lower case, cannot be chosen because the
	// zone has other uses for them. nil: none.
	Reserved func(label string) bool
	// RegisterLimit bounds the registrations of one client, FailureLimit what
	// it may do with wrong credentials or tokens before the answer is 429. The
	// zero value: no limit.
	//
	// Right credentials are never refused for the failures of others behind the
	// same address: nobody guesses 240 random bits, and to look costs nothing.
	// The exception are imported accounts that did not log in yet, whose hash
	// takes long to compare. They wait until the address may fail once more.
	RegisterLimit, FailureLimit Rate
	// TrustedProxies may speak for others, in ProxyHeader. From anybody else
	// the header means nothing. Its zero value: no header is believed.
	TrustedProxies []netip.Prefix
	ProxyHeader    ProxyHeader
	// CORSOrigins are the origins whose pages may use the API, in the form in
	// which browsers send them, or "*". Empty: none.
	CORSOrigins []string
	// Log gets one line for each request. nil: discard.
	Log *slog.Logger
	// Observe is told about each request when it is done. It is called by many
	// goroutines at once and must not block. nil: nobody is told.
	Observe func(Observation)
}

// Observation is one request, for metrics. Endpoint, Status and Code are from
// closed sets; no client can invent a new one.
type Observation struct {
	Endpoint string        // "register", "update", "health", "account", "password", "values", "openapi" or "other"
	Status   int           // of the reply
	Code     string        // of the error, or ""
	Duration time.Duration // from the parsed header to the end of the reply
}

type api struct {
	registry Registry
	domain   string
	chosen   bool // names may be chosen
	reserved func(label string) bool
	log      *slog.Logger
	observe  func(Observation)
	router   *mux.Router

	registration  RegistrationMode
	registrations *limiter
	failures      *limiter
	sources       sources
	cors          cors
}

// New returns the handler of the API. It is safe for concurrent use.
func New(reg Registry, opts Options) http.Handler {
	a := &api{
		registry: reg,
		domain:   trimDot(opts.Domain),
		chosen:   opts.ChosenNames,
		reserved: opts.Reserved,
		log:      opts.Log,
		observe:  opts.Observe,
		router:   mux.NewRouter(),

		registration:  opts.Registration,
		registrations: newLimiter(opts.RegisterLimit),
		failures:      newLimiter(opts.FailureLimit),
		sources:       sources{trusted: opts.TrustedProxies, header: opts.ProxyHeader},
		cors:          newCORS(opts.CORSOrigins),
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.reserved == nil {
		a.reserved = func(string) bool { return false }
	}
	if a.observe == nil {
		a.observe = func(Observation) {}
	}
	r := a.router
	for _, prefix := range []string{"", tokenPrefix + "{token}"} {
		if opts.Registration != RegistrationClosed {
			r.HandleFunc(prefix+"/register", a.register).Methods(http.MethodPost)
		}
		r.HandleFunc(prefix+"/update", a.update).Methods(http.MethodPost)
		r.HandleFunc(prefix+"/health", a.health).Methods(http.MethodGet, http.MethodHead)
		a.routeV1(prefix)
	}
	r.NotFoundHandler = http.HandlerFunc(notFound)
	r.MethodNotAllowedHandler = http.HandlerFunc(a.methodNotAllowed)
	return a
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w}
	precise := isPrecise(r.URL.Path)
	r = a.sources.resolved(cleaned(r))
	defer func() {
		if p := recover(); p != nil {
			a.panicked(rec, r, p)
		}
		a.done(rec, r, time.Since(start))
	}()
	r.Body = http.MaxBytesReader(rec, r.Body, MaxBody)
	if a.cors.decorate(rec.Header(), r) && isPreflight(r) {
		a.preflight(rec, r)
		return
	}
	if r.Method == http.MethodDelete && !precise {
		notFound(rec, r)
		return
	}
	a.router.ServeHTTP(rec, r)
}

// isPrecise reports whether to clean a path cannot name more than was meant:
// values/$TXT without a TXT is all values, and values/.. the account. Double
// slashes come of a base URL with a slash at its end.
func isPrecise(path string) bool {
	segments := strings.Split(path, "/")
	return segments[len(segments)-1] != "" && !slices.Contains(segments, ".") && !slices.Contains(segments, "..")
}

// cleaned returns r with the path that it means: no double and no trailing
// slashes, no dots. r itself stays as it is, since it is the server's.
func cleaned(r *http.Request) *http.Request {
	clean := path.Clean("/" + r.URL.Path)
	if clean == r.URL.Path {
		return r
	}
	url := *r.URL
	url.Path, url.RawPath = clean, ""
	copied := *r
	copied.URL = &url
	return &copied
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	writeError(w, http.StatusNotFound, codeNotFound)
}

// methodNotAllowed answers a wrong method with those that are right
// (RFC 9110 §15.5.6).
func (a *api) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", strings.Join(a.methods(r), ", "))
	writeError(w, http.StatusMethodNotAllowed, codeMethod)
}

// methods returns the methods that the path of r has.
func (a *api) methods(r *http.Request) (allowed []string) {
	for _, method := range []string{
		http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPost,
	} {
		try := *r
		try.Method = method
		var match mux.RouteMatch
		if a.router.Match(&try, &match) && match.MatchErr == nil {
			allowed = append(allowed, method)
		}
	}
	return allowed
}

// endpoint names what r asks for, from a closed set.
func (a *api) endpoint(r *http.Request) string {
	name := strings.TrimPrefix(withoutToken(r.URL.Path), tokenPrefix+"-")
	name = strings.TrimPrefix(name, "/")
	if slices.Contains([]string{"register", "update", "health"}, name) {
		return name
	}
	return endpointV1("/" + name)
}

func trimDot(domain string) string {
	for len(domain) > 0 && domain[len(domain)-1] == '.' {
		domain = domain[:len(domain)-1]
	}
	return domain
}
