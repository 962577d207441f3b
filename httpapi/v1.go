package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"cnamed/registry"
)

// pathV1 begins the paths at which the owner of an account manages it, with the
// credentials and from the addresses of /update. openapi.json describes them.
const pathV1 = "/v1/"

func (a *api) routeV1(prefix string) {
	read := []string{http.MethodGet, http.MethodHead}
	r, prefix := a.router, prefix+pathV1
	r.HandleFunc(prefix+"openapi.json", a.openAPI).Methods(read...)
	r.HandleFunc(prefix+"account", a.owned(a.showAccount)).Methods(read...)
	r.HandleFunc(prefix+"account", a.owned(a.changeAccount)).Methods(http.MethodPatch)
	r.HandleFunc(prefix+"account", a.owned(a.deleteAccount)).Methods(http.MethodDelete)
	r.HandleFunc(prefix+"account/password", a.owned(a.rotatePassword)).Methods(http.MethodPost)
	r.HandleFunc(prefix+"account/values", a.owned(a.clearValues)).Methods(http.MethodDelete)
	r.HandleFunc(prefix+"account/values/{txt}", a.owned(a.dropValue)).Methods(http.MethodDelete)
}

// endpointV1 names what a path below /v1 asks for, or "other".
func endpointV1(path string) string {
	switch path {
	case pathV1 + "openapi.json":
		return "openapi"
	case pathV1 + "account":
		return "account"
	case pathV1 + "account/password":
		return "password"
	case pathV1 + "account/values":
		return "values"
	}
	if txt, ok := strings.CutPrefix(path, pathV1+"account/values/"); ok && txt != "" && !strings.Contains(txt, "/") {
		return "values"
	}
	return "other"
}

// accountReply is what an owner sees of his account. Times that never were are
// null.
type accountReply struct {
	Username          string       `json:"username"`
	FullDomain        string       `json:"fulldomain"`
	Subdomain         string       `json:"subdomain"`
	AllowFrom         []string     `json:"allowfrom"`
	Note              string       `json:"note"`
	Created           *time.Time   `json:"created"`
	LastUpdate        *time.Time   `json:"last_update"`
	LastAuthenticated *time.Time   `json:"last_authenticated"`
	Values            []valueReply `json:"values"`
}

type valueReply struct {
	TXT string    `json:"txt"`
	Set time.Time `json:"set"`
}

// changeRequest is the body of PATCH /v1/account. What is absent, or null, stays.
type changeRequest struct {
	AllowFrom *[]string `json:"allowfrom"`
	Note      *string   `json:"note"`
	Force     bool      `json:"force"`
}

// owned authenticates the owner of an account.
func (a *api) owned(handle func(http.ResponseWriter, *http.Request, *registry.Access)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		wait, spent := a.failures.spent(clientAddr(r))
		access, err := a.registry.Login(registry.Login{
			Username: r.Header.Get("X-Api-User"),
			Password: r.Header.Get("X-Api-Key"),
			Source:   clientAddr(r),
			FastOnly: spent,
		})
		if errors.Is(err, registry.ErrSlow) {
			writeLimited(w, wait)
			return
		}
		if err != nil {
			a.writeOwnerError(w, r, err)
			return
		}
		// No cache may keep what is for the owner alone, RFC 9111 §5.2.2.5.
		w.Header().Set("Cache-Control", "no-store")
		handle(w, r, access)
	}
}

func (a *api) showAccount(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	d, err := access.Details(r.Context())
	a.writeAccount(w, r, d, err)
}

func (a *api) changeAccount(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	var req changeRequest
	if err := decodeStrictly(body, &req); err != nil {
		writeError(w, http.StatusBadRequest, codeMalformed)
		return
	}
	d, err := access.Change(r.Context(), registry.Changes{AllowFrom: req.AllowFrom, Note: req.Note, Lockout: req.Force})
	a.writeAccount(w, r, d, err)
}

func (a *api) deleteAccount(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	a.writeDone(w, r, access.Delete(r.Context()))
}

func (a *api) rotatePassword(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	cred, err := access.Rotate(r.Context())
	if err != nil {
		a.writeOwnerError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, a.registerReply(cred))
}

func (a *api) clearValues(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	a.writeDone(w, r, access.Clear(r.Context()))
}

func (a *api) dropValue(w http.ResponseWriter, r *http.Request, access *registry.Access) {
	a.writeDone(w, r, access.Drop(r.Context(), mux.Vars(r)["txt"]))
}

func (a *api) writeAccount(w http.ResponseWriter, r *http.Request, d registry.Details, err error) {
	if err != nil {
		a.writeOwnerError(w, r, err)
		return
	}
	reply := accountReply{
		Username:          d.Username.String(),
		FullDomain:        d.Subdomain + "." + a.domain,
		Subdomain:         d.Subdomain,
		AllowFrom:         d.AllowFrom,
		Note:              d.Note,
		Created:           timeReply(d.Created),
		LastUpdate:        timeReply(d.Updated),
		LastAuthenticated: timeReply(d.Authenticated),
		Values:            make([]valueReply, len(d.Values)),
	}
	for i, v := range d.Values {
		reply.Values[i] = valueReply{v.TXT, v.At.UTC()}
	}
	writeJSON(w, http.StatusOK, reply)
}

// timeReply is RFC 3339 in UTC, or null.
func timeReply(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// writeDone answers a request whose effect is all there is to tell.
func (a *api) writeDone(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		a.writeOwnerError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) writeOwnerError(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, registry.ErrForbidden):
		a.writeForbidden(w, r)
	case errors.Is(err, registry.ErrAllowFrom):
		writeError(w, http.StatusBadRequest, codeAllowFrom)
	case errors.Is(err, registry.ErrNote):
		writeError(w, http.StatusBadRequest, codeNote)
	case errors.Is(err, registry.ErrTXT):
		writeError(w, http.StatusBadRequest, codeTXT)
	case errors.Is(err, registry.ErrLockout):
		writeError(w, http.StatusConflict, codeLockout)
	default:
		a.writeFailure(w, err)
	}
}

// decodeStrictly reads one JSON value into v. A key that is not known is an
// error: who mistypes allowfrom must not believe it was set.
func decodeStrictly(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}
