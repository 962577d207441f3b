package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

// accountInfo is an account as its operator sees it.
type accountInfo struct {
	Username          string         `json:"username"`
	Subdomain         string         `json:"subdomain"`
	AllowFrom         []string       `json:"allowfrom"`
	Locked            bool           `json:"locked,omitempty"` // imported without a usable allow list
	Note              string         `json:"note"`
	Created           time.Time      `json:"created,omitzero"`
	LastUpdate        time.Time      `json:"last_update,omitzero"`
	LastAuthenticated time.Time      `json:"last_authenticated,omitzero"`
	Values            []accountValue `json:"values"`
}

type accountValue struct {
	TXT string    `json:"txt"`
	Set time.Time `json:"set"`
}

func newAccountInfo(d registry.Details) accountInfo {
	info := accountInfo{
		Username: d.Username.String(), Subdomain: d.Subdomain, AllowFrom: d.AllowFrom, Locked: d.Locked, Note: d.Note,
		Created: d.Created.UTC(), LastUpdate: d.Updated.UTC(), LastAuthenticated: d.Authenticated.UTC(),
		Values: make([]accountValue, len(d.Values)),
	}
	for i, v := range d.Values {
		info.Values[i] = accountValue{v.TXT, v.At.UTC()}
	}
	return info
}

// accountQuery says which accounts are meant.
type accountQuery struct {
	match       string
	unusedSince time.Time // zero: whether used or not
}

// accountPage is a part of the accounts, as many as one reply takes.
type accountPage struct {
	Accounts []accountInfo   `json:"accounts"`
	Next     registry.Cursor `json:"next"` // 0: the last page
}

const accountPageSize = 500

type accountChange struct {
	AllowFrom *[]string `json:"allowfrom,omitempty"`
	Note      *string   `json:"note,omitempty"`
}

// accountPassword is what a rotation gives.
type accountPassword struct {
	Username  string `json:"username"`
	Password  string `json:"password"`
	Subdomain string `json:"subdomain"`
}

type accountPrune struct {
	Usernames   []uuid.UUID `json:"usernames"`
	UnusedSince time.Time   `json:"unused_since"`
}

// accountRoutes are the requests of cnamed account. One account is named by
// ?name=, by its username or its subdomain.
func accountRoutes(mux *http.ServeMux, reg *registry.Registry) {
	a := accountAPI{reg}
	mux.HandleFunc("GET /accounts", a.list)
	mux.HandleFunc("POST /accounts/prune", a.prune)
	mux.HandleFunc("GET /account", a.of(a.show))
	mux.HandleFunc("PATCH /account", a.of(a.change))
	mux.HandleFunc("DELETE /account", a.remove)
	mux.HandleFunc("POST /account/password", a.of(a.rotate))
	mux.HandleFunc("DELETE /account/values", a.of(a.clear))
}

type accountAPI struct{ reg *registry.Registry }

// accountFail answers with an error about the account with a name.
func accountFail(w http.ResponseWriter, name string, err error) {
	remedy := ""
	if errors.Is(err, registry.ErrNotFound) {
		remedy = "cnamed account search finds accounts by a part of what is known of them"
	}
	operatorFail(w, fmt.Errorf("account %s: %w", quote(name), err), remedy)
}

// of gives a handler the access to the account that the request names, and
// answers with what it returns.
func (a accountAPI) of(handle func(*http.Request, *registry.Access) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("name")
		access, err := a.reg.AccessTo(labelOf(name))
		var reply any
		if err == nil {
			reply, err = handle(r, access)
		}
		if err != nil {
			accountFail(w, name, err)
			return
		}
		operatorReply(w, reply)
	}
}

// labelOf returns the subdomain of a full name, as the target of a CNAME record
// has it, if it is one that was drawn, so that it means one account whatever
// comes behind it. Other names are taken as they are: some were typed by hand,
// with dots in them.
func labelOf(name string) string {
	label, _, _ := strings.Cut(name, ".")
	if uuid.Validate(label) == nil {
		return label
	}
	return name
}

func (a accountAPI) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, err := strconv.ParseUint(query.Get("after"), 10, 64)
	if err != nil {
		operatorFail(w, err, "")
		return
	}
	filter := registry.Filter{Match: query.Get("match")}
	if text := query.Get("unused_since"); text != "" {
		if filter.UnusedSince, err = time.Parse(time.RFC3339, text); err != nil {
			operatorFail(w, err, "")
			return
		}
	}
	page := accountPage{Accounts: []accountInfo{}}
	all, next := a.reg.List(registry.Cursor(after), accountPageSize, filter)
	for _, d := range all {
		page.Accounts = append(page.Accounts, newAccountInfo(d))
	}
	page.Next = next
	operatorReply(w, page)
}

// path is the request of a page.
func (q accountQuery) path(after registry.Cursor) string {
	query := url.Values{"match": {q.match}, "after": {strconv.FormatUint(uint64(after), 10)}}
	if !q.unusedSince.IsZero() {
		query.Set("unused_since", q.unusedSince.UTC().Format(time.RFC3339))
	}
	return "/accounts?" + query.Encode()
}

func (a accountAPI) prune(w http.ResponseWriter, r *http.Request) {
	var which accountPrune
	if !operatorRead(w, r, &which) {
		return
	}
	pruned, err := a.reg.Prune(r.Context(), which.Usernames, which.UnusedSince)
	if err != nil {
		operatorFail(w, fmt.Errorf("after %d accounts: %w", len(pruned), err), "")
		return
	}
	operatorReply(w, accountPrune{Usernames: pruned, UnusedSince: which.UnusedSince})
}

func (accountAPI) show(r *http.Request, access *registry.Access) (any, error) {
	d, err := access.Details(r.Context())
	return newAccountInfo(d), err
}

func (accountAPI) change(r *http.Request, access *registry.Access) (any, error) {
	var change accountChange
	if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
		return nil, err
	}
	d, err := access.Change(r.Context(), registry.Changes{AllowFrom: change.AllowFrom, Note: change.Note})
	return newAccountInfo(d), err
}

func (accountAPI) rotate(r *http.Request, access *registry.Access) (any, error) {
	cred, err := access.Rotate(r.Context())
	return accountPassword{cred.Username.String(), cred.Password.Reveal(), cred.Subdomain}, err
}

func (accountAPI) clear(r *http.Request, access *registry.Access) (any, error) {
	if query := r.URL.Query(); query.Has("txt") {
		return struct{}{}, access.Drop(r.Context(), query.Get("txt"))
	}
	return struct{}{}, access.Clear(r.Context())
}

// remove deletes an account. With ?release its name may be chosen again, also
// that of an account that was deleted before.
func (a accountAPI) remove(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	name := query.Get("name")
	subdomain, err := a.delete(r.Context(), name)
	if query.Has("release") && (err == nil || errors.Is(err, registry.ErrNotFound)) {
		released := a.reg.ReleaseName(r.Context(), cmp.Or(subdomain, name))
		if err != nil || !errors.Is(released, registry.ErrNotFound) { // a drawn name is not kept back
			err = released
		}
	}
	if err != nil {
		accountFail(w, name, err)
		return
	}
	operatorReply(w, struct{}{})
}

// delete deletes an account, and returns the name that it had.
func (a accountAPI) delete(ctx context.Context, name string) (subdomain string, err error) {
	access, err := a.reg.AccessTo(labelOf(name))
	if err != nil {
		return "", err
	}
	d, err := access.Details(ctx)
	if err != nil {
		return "", err
	}
	return d.Subdomain, access.Delete(ctx)
}
