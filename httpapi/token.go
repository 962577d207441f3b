package httpapi

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"cnamed/registry"
)

// RegistrationMode is who may register.
type RegistrationMode int

// The modes of registration.
const (
	RegistrationOpen   RegistrationMode = iota // everybody
	RegistrationToken                          // who presents a registration token
	RegistrationClosed                         // nobody; /register is not there
)

// tokenPrefix begins the paths that carry a token: /t/TOKEN/register. A client
// that knows no tokens needs nothing but the base URL https://HOST/t/TOKEN.
const tokenPrefix = "/t/"

// permit returns the ID of a valid token of the request, and otherwise answers
// why not.
func (a *api) permit(w http.ResponseWriter, r *http.Request) (id string, ok bool) {
	secrets := tokensOf(r)
	for _, secret := range secrets {
		id, err := a.registry.CheckToken(secret)
		if errors.Is(err, registry.ErrUnavailable) {
			a.writeFailure(w, err)
			return "", false
		}
		if err == nil {
			if rec, ok := w.(*recorder); ok {
				rec.token = id
			}
			return id, true
		}
	}
	a.writeTokenFailure(w, r, len(secrets) > 0)
	return "", false
}

// writeTokenFailure answers a registration without the right to it. It counts
// as a failure to authenticate.
func (a *api) writeTokenFailure(w http.ResponseWriter, r *http.Request, presented bool) {
	if wait, ok := a.failures.take(clientAddr(r)); !ok {
		writeLimited(w, wait)
		return
	}
	code := codeTokenRequired
	if presented {
		code = codeToken
	}
	writeError(w, http.StatusForbidden, code)
}

// tokensOf returns what may be a token of the request, from all the places
// where clients can put one: the path, X-Api-Token, Authorization: Bearer, and
// either part of Authorization: Basic, which is what clients make of a URL like
// https://TOKEN@host.
func tokensOf(r *http.Request) []string {
	authorization := r.Header.Get("Authorization")
	user, password := basicAuth(authorization)
	var secrets []string
	for _, s := range []string{mux.Vars(r)["token"], r.Header.Get("X-Api-Token"),
		afterScheme(authorization, "Bearer"), user, password} {
		if s != "" {
			secrets = append(secrets, s)
		}
	}
	return secrets
}

// afterScheme returns the credentials of an authentication scheme, whose name
// has no case (RFC 9110 §11.1).
func afterScheme(authorization, scheme string) string {
	name, credentials, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	if !strings.EqualFold(name, scheme) {
		return ""
	}
	return strings.TrimSpace(credentials)
}

// basicAuth reads Basic authentication (RFC 7617) in any variant of base64:
// clients exist that use the URL-safe alphabet, and some leave the padding out.
func basicAuth(authorization string) (user, password string) {
	text := strings.TrimRight(afterScheme(authorization, "Basic"), "=")
	decoded, err := base64.RawURLEncoding.DecodeString(standardToURL.Replace(text))
	if err != nil {
		return "", ""
	}
	user, password, _ = strings.Cut(string(decoded), ":")
	return user, password
}

var standardToURL = strings.NewReplacer("+", "-", "/", "_")

// withoutToken returns a path as it may be logged and as endpoints are named.
func withoutToken(path string) string {
	before, token, ok := strings.Cut(path, tokenPrefix) // anywhere: people mistype
	if !ok {
		return path
	}
	after := ""
	if i := strings.IndexByte(token, '/'); i >= 0 {
		after = token[i:]
	}
	return before + tokenPrefix + "-" + after
}
