package main

import (
	"context"
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
	mux.HandleFunc("DELETE /account", a.of(a.remove))
	mux.HandleFunc("POST /account/password", a.of(a.rotate))
	mux.HandleFunc("DELETE /account/values", a.of(a.clear))
	mux.HandleFunc("DELETE /names", a.release)
}

type accountAPI struct{ reg *registry.Registry }

const accountRemedy = "cnamed account search finds accounts by a part of what is known of them"

// of gives a handler the access to the account that the request names.
func (a accountAPI) of(handle func(http.ResponseWriter, *http.Request, *registry.Access)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("name")
		access, err := a.reg.AccessTo(labelOf(name))
		if err != nil {
			operatorFail(w, fmt.Errorf("account %s: %w", quote(name), err), accountRemedy)
			return
		}
		handle(w, r, access)
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

func (a accountAPI) show(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	d, err := access.Details(r.Context())
	a.replyAccount(w, d, err)
}

func (a accountAPI) change(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	var change accountChange
	if !operatorRead(w, r, &change) {
		return
	}
	d, err := access.Change(r.Context(), registry.Changes{AllowFrom: change.AllowFrom, Note: change.Note})
	a.replyAccount(w, d, err)
}

func (accountAPI) replyAccount(w http.ResponseWriter, d registry.Details, err error) {
	if err != nil {
		operatorFail(w, err, accountRemedy)
		return
	}
	operatorReply(w, newAccountInfo(d))
}

func (accountAPI) rotate(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	cred, err := access.Rotate(r.Context())
	if err != nil {
		operatorFail(w, err, accountRemedy)
		return
	}
	operatorReply(w, accountPassword{cred.Username.String(), cred.Password.Reveal(), cred.Subdomain})
}

func (accountAPI) clear(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	clear := access.Clear
	if query := r.URL.Query(); query.Has("txt") {
		clear = func(ctx context.Context) error { return access.Drop(ctx, query.Get("txt")) }
	}
	replyDone(w, clear(r.Context()))
}

func (accountAPI) remove(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	replyDone(w, access.Delete(r.Context()))
}

func (a accountAPI) release(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if err := a.reg.ReleaseName(r.Context(), name); err != nil {
		operatorFail(w, fmt.Errorf("no deleted account had the chosen name %s: %w", quote(name), err), accountRemedy)
		return
	}
	operatorReply(w, struct{}{})
}

func replyDone(w http.ResponseWriter, err error) {
	if err != nil {
		operatorFail(w, err, accountRemedy)
		return
	}
	operatorReply(w, struct{}{})
}
