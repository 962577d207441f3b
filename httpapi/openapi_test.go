package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cnamed/httpapi"
	"cnamed/registry"
)

// TestOpenAPIIsTrue makes the handlers give every reply that the document
// describes, and finds every reply that they give described: routes, statuses,
// codes, headers and fields, in both directions.
func TestOpenAPIIsTrue(t *testing.T) {
	t.Parallel()
	c := &conformance{T: t, document: readDocument(t), seen: map[string]bool{}}
	h := httpapi.New(newRegistry(t), httpapi.Options{Domain: "auth.example.org", ChosenNames: true,
		Reserved: func(label string) bool { return label == "www" }})
	c.open(h)
	c.routes(h)
	c.requestKeys()

	for status, err := range map[int]error{500: registry.ErrStore, 503: registry.ErrOverloaded} {
		c.failing(status, err)
	}
	c.limited()
	c.exchange(httpapi.New(&fake{err: registry.ErrSubdomain}, httpapi.Options{}), "POST", "/update", "", "{}", 400)
	c.exchange(httpapi.New(&fake{}, httpapi.Options{Registration: httpapi.RegistrationClosed}), "POST", "/register", "", "{}", 404)
	if want := c.described(); !maps.Equal(c.seen, want) {
		for reply := range want {
			if !c.seen[reply] {
				t.Errorf("%s is described, and was not seen", reply)
			}
		}
	}
}

type conformance struct {
	*testing.T
	*document
	seen   map[string]bool // replies, as "GET /health 503 unhealthy"
	cred   struct{ Username, Password, Subdomain string }
	bearer string // token
}

// ownerRoutes are those of an account.
var ownerRoutes = []string{"GET /v1/account", "PATCH /v1/account", "DELETE /v1/account", "POST /v1/account/password",
	"DELETE /v1/account/values", "DELETE /v1/account/values/{txt}"}

// open is the life of an account.
func (c *conformance) open(h http.Handler) {
	txt := strings.Repeat("t", 43)
	register := func(body string, want int) { c.exchange(h, "POST", "/register", "", body, want) }
	register(`{"allowfrom":["1.2.3.4"]}`, 400)
	register(`{"note":"\n"}`, 400)
	register(`{"subdomain":"-"}`, 400)
	register(`[]`, 400)
	register(`{"subdomain":"www"}`, 409)
	register(`{"subdomain":"mine","note":"a note","allowfrom":["192.0.2.0/24"]}`, 201)
	register(`{"subdomain":"mine"}`, 409)
	register("slow", 408)
	register(strings.Repeat(" ", httpapi.MaxBody+1), 413)

	update := func(body string, want int) { c.exchange(h, "POST", "/update", "", body, want) }
	update(`{"subdomain":"mine","txt":"`+txt+`"}`, 200)
	update(`{"subdomain":"mine","txt":""}`, 400)
	update(`{"subdomain":"other","txt":""}`, 401)
	update("slow", 408)
	update(strings.Repeat(" ", httpapi.MaxBody+1), 413)

	account := func(method, path, body string, want int) { c.exchange(h, method, "/v1/account"+path, "", body, want) }
	account("GET", "", "", 200)
	account("PATCH", "", `{"note":"another","allowfrom":["192.0.2.0/24","::1/128"]}`, 200)
	account("PATCH", "", `{"allowfrom":["198.51.100.0/24"]}`, 409)
	account("PATCH", "", `{"allowfrom":[""]}`, 400)
	account("PATCH", "", `{"note":"\u0000"}`, 400)
	account("PATCH", "", `{"notes":""}`, 400)
	account("PATCH", "", "slow", 408)
	account("PATCH", "", strings.Repeat(" ", httpapi.MaxBody+1), 413)
	c.exchange(h, "DELETE", "/v1/account/values/{txt}", txt, "", 204)
	c.exchange(h, "DELETE", "/v1/account/values/{txt}", "short", "", 400)
	account("DELETE", "/values", "", 204)
	account("POST", "/password", "", 200)
	account("GET", "", "", 200)
	account("DELETE", "", "", 204)
	for _, route := range ownerRoutes {
		method, path, _ := strings.Cut(route, " ")
		c.exchange(h, method, path, txt, "{}", 401)
	}
	c.exchange(h, "GET", "/health", "", "", 200)
	c.exchange(h, "GET", "/v1/openapi.json", "", "", 200)
}

// failing has every write fail with err.
func (c *conformance) failing(status int, err error) {
	h := httpapi.New(&fake{err: err}, httpapi.Options{})
	for _, route := range []string{"POST /register", "POST /update"} {
		method, path, _ := strings.Cut(route, " ")
		c.exchange(h, method, path, "", "{}", status)
	}
	c.exchange(h, "GET", "/health", "", "", 503)

	broken := brokenRegistry(c.T, err)
	h = httpapi.New(broken, httpapi.Options{})
	c.cred.Username, c.cred.Password, c.cred.Subdomain = broken.cred.Username.String(), broken.cred.Password.Reveal(), broken.cred.Subdomain
	c.exchange(h, "GET", "/v1/account", "", "", 200)
	c.exchange(h, "PATCH", "/v1/account", "", `{"note":"x"}`, status)
	c.exchange(h, "POST", "/v1/account/password", "", "", status)
	c.exchange(h, "DELETE", "/v1/account/values/{txt}", strings.Repeat("t", 43), "", status)
	c.exchange(h, "DELETE", "/v1/account/values", "", "", status)
	c.exchange(h, "DELETE", "/v1/account", "", "", status)
}

// limited fails to authenticate, and registers, more often than is allowed.
func (c *conformance) limited() {
	reg, limit := newRegistry(c.T), httpapi.Rate{N: 1, Per: time.Hour}
	h := httpapi.New(reg, httpapi.Options{Registration: httpapi.RegistrationToken})
	c.exchange(h, "POST", "/register", "", "{}", 403)
	h = httpapi.New(reg, httpapi.Options{RegisterLimit: limit, FailureLimit: limit})
	c.exchange(h, "POST", "/register", "", "{}", 201)
	c.exchange(h, "POST", "/register", "", "{}", 429)
	c.cred.Password = strings.Repeat("p", 40)
	c.exchange(h, "POST", "/update", "", "{}", 401)
	c.exchange(h, "POST", "/update", "", "{}", 429)
	for _, route := range ownerRoutes {
		method, path, _ := strings.Cut(route, " ")
		c.exchange(h, method, path, strings.Repeat("t", 43), "{}", 429)
	}
	h = httpapi.New(reg, httpapi.Options{Registration: httpapi.RegistrationToken})
	c.bearer = "nonsense"
	c.exchange(h, "POST", "/register", "", "{}", 403)
}

// exchange makes a request with the current credentials, and holds the reply
// against the document.
func (c *conformance) exchange(h http.Handler, method, path, txt, body string, want int) {
	c.Helper()
	var reader io.Reader = strings.NewReader(body)
	if body == "slow" {
		reader = slowBody{}
	}
	r := httptest.NewRequest(method, strings.Replace(path, "{txt}", txt, 1), reader)
	r.RemoteAddr = "192.0.2.7:1234"
	r.Header.Set("X-Api-User", c.cred.Username)
	r.Header.Set("X-Api-Key", c.cred.Password)
	if c.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	name := fmt.Sprintf("%s %s %d", method, path, w.Code)
	if w.Code != want {
		c.Errorf("%s: want %d: %s", name, want, w.Body)
	}
	response := c.at(c.root, "paths", path, strings.ToLower(method), "responses", fmt.Sprint(w.Code))
	if response == nil {
		c.Errorf("%s is not described", name)
		return
	}
	for header := range c.at(response, "headers") {
		if w.Header().Get(header) == "" {
			c.Errorf("%s has no %s", name, header)
		}
	}
	schema := c.at(response, "content", "application/json", "schema")
	if schema == nil {
		if w.Body.Len() > 0 {
			c.Errorf("%s has a body that is not described: %s", name, w.Body)
		}
		c.seen[name] = true
		return
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		c.Errorf("%s is of type %s", name, got)
	}
	var v node
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		c.Errorf("%s: %v: %s", name, err, w.Body)
	}
	if err := c.check(schema, v); err != nil {
		c.Errorf("%s: %v\n%s", name, err, w.Body)
	}
	if code, ok := v["error"].(string); ok {
		name += " " + code
	}
	if v["password"] != nil {
		if err := json.Unmarshal(w.Body.Bytes(), &c.cred); err != nil {
			c.Fatal(err)
		}
	}
	c.seen[name] = true
	if w.Code < 300 && body != "" && body != "{}" {
		c.checkRequest(method, path, body)
	}
}

// checkRequest: what is taken is described.
func (c *conformance) checkRequest(method, path, body string) {
	schema := c.at(c.root, "paths", path, strings.ToLower(method), "requestBody", "content", "application/json", "schema")
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		c.Fatal(err)
	}
	if err := c.check(schema, v); err != nil || schema == nil {
		c.Errorf("%s %s takes %s, which is not described: %v", method, path, body, err)
	}
}

// described returns all replies of the document.
func (c *conformance) described() map[string]bool {
	all := map[string]bool{}
	for path, item := range c.at(c.root, "paths") {
		for method, operation := range item.(node) {
			for status, response := range c.at(operation, "responses") {
				name := strings.ToUpper(method) + " " + path + " " + status
				parts, _ := c.at(response, "content", "application/json", "schema")["allOf"].([]any)
				if parts == nil {
					all[name] = true
					continue
				}
				for _, code := range c.at(parts[1], "properties", "error")["enum"].([]any) {
					all[name+" "+code.(string)] = true
				}
			}
		}
	}
	return all
}

// routes: the document has those of the router, and no others.
func (c *conformance) routes(h http.Handler) {
	routes, err := httpapi.Routes(h)
	if err != nil {
		c.Fatal(err)
	}
	routes = slices.DeleteFunc(routes, func(r string) bool { return strings.HasPrefix(r, "HEAD ") })
	// All of them are there once more below each server.
	var below []string
	routes = slices.DeleteFunc(routes, func(r string) bool {
		method, path, _ := strings.Cut(r, " ")
		if path, ok := strings.CutPrefix(path, "/t/{token}"); ok {
			below = append(below, method+" "+path)
			return true
		}
		return false
	})
	slices.Sort(below)
	var want []string
	for path, item := range c.at(c.root, "paths") {
		for method := range item.(node) {
			want = append(want, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(routes)
	slices.Sort(want)
	if !slices.Equal(routes, want) || !slices.Equal(below, want) {
		c.Errorf("routed\n%s\ndescribed\n%s", strings.Join(routes, "\n"), strings.Join(want, "\n"))
	}
}

func (c *conformance) requestKeys() {
	for name, keys := range httpapi.RequestKeys() {
		want := slices.Sorted(maps.Keys(c.at(c.root, "components", "schemas", name, "properties")))
		slices.Sort(keys)
		if !slices.Equal(keys, want) {
			c.Errorf("%s has the keys %v, %v are described", name, keys, want)
		}
	}
}

// slowBody is a body whose time is over.
type slowBody struct{}

func (slowBody) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// broken is a registry with one account, in which no write works any more.
type broken struct {
	*registry.Registry
	cred registry.Credentials
}

func brokenRegistry(t *testing.T, err error) *broken {
	t.Helper()
	store := &brokenStore{}
	r, openErr := registry.Open(t.Context(), store, registry.Options{})
	if openErr != nil {
		t.Fatal(openErr)
	}
	cred, registerErr := r.Register(t.Context(), nil)
	if registerErr != nil {
		t.Fatal(registerErr)
	}
	store.err = err
	return &broken{r, cred}
}

type brokenStore struct {
	registry.Store
	err error
}

func (*brokenStore) Load(context.Context, func(*registry.Entry) error) (registry.State, error) {
	return registry.State{}, nil
}

func (s *brokenStore) Commit(context.Context, []registry.Mutation) (registry.Committed, error) {
	return registry.Committed{}, s.err
}
