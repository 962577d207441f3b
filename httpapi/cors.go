package httpapi

import (
	"net/http"
	"slices"
	"strings"
)

// preflightAge is how long, in seconds, a browser may remember what a preflight
// said. No browser uses more than a day, Chromium two hours.
const preflightAge = "7200"

// corsHeaders are what a page may send beside what every page may.
const corsHeaders = "Content-Type, X-Api-User, X-Api-Key, X-Api-Token, Authorization"

// cors lets the pages of certain origins read replies (the CORS protocol of
// https://fetch.spec.whatwg.org/#http-cors-protocol). Credentials are in headers
// that a page sets itself: cookies are never asked for, so that "*" gives a page
// nothing that a program does not have.
type cors struct {
	origins []string
	any     bool
}

func newCORS(origins []string) cors {
	return cors{origins: origins, any: slices.Contains(origins, "*")}
}

// decorate adds to a reply what the browser wants to see, on errors too: a page
// must be able to read why. It reports whether the page may ask.
func (c *cors) decorate(h http.Header, r *http.Request) (allowed bool) {
	if len(c.origins) == 0 {
		return false
	}
	if !c.any {
		// Also without Origin: a cache must not give this reply to a page.
		h.Add("Vary", "Origin")
	}
	origin := r.Header.Get("Origin")
	switch {
	case origin == "":
		return false
	case c.any:
		h.Set("Access-Control-Allow-Origin", "*")
	case slices.Contains(c.origins, origin):
		h.Set("Access-Control-Allow-Origin", origin)
	default:
		return false
	}
	h.Set("Access-Control-Expose-Headers", "Retry-After")
	return true
}

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != ""
}

// preflight answers what a page of an allowed origin may send to a path.
func (a *api) preflight(w http.ResponseWriter, r *http.Request) {
	methods := a.methods(r)
	if len(methods) == 0 {
		notFound(w, r)
		return
	}
	h := w.Header()
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	h.Set("Access-Control-Allow-Headers", corsHeaders)
	h.Set("Access-Control-Max-Age", preflightAge)
	w.WriteHeader(http.StatusNoContent)
}
