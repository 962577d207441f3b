package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"cnamed/registry"
)

// updateRequest is the body of POST /update. Keys are matched without regard to
// case: some clients send "SubDomain" and "Txt".
type updateRequest struct {
	Subdomain string `json:"subdomain"`
	TXT       string `json:"txt"`
}

type updateReply struct {
	TXT string `json:"txt"`
}

// update sets a value. A 200 means that it is durable and served.
func (a *api) update(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	var req updateRequest
	// Clients are used to a body that cannot be read being forbidden.
	if err := json.Unmarshal(body, &req); err != nil {
		a.writeForbidden(w, r)
		return
	}
	wait, spent := a.failures.spent(clientAddr(r))
	err := a.registry.Update(r.Context(), registry.Update{
		Username:  r.Header.Get("X-Api-User"),
		Password:  r.Header.Get("X-Api-Key"),
		Source:    clientAddr(r),
		Subdomain: req.Subdomain,
		TXT:       req.TXT,
		FastOnly:  spent,
	})
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, updateReply{TXT: req.TXT})
	case errors.Is(err, registry.ErrForbidden):
		a.writeForbidden(w, r)
	case errors.Is(err, registry.ErrSlow):
		writeLimited(w, wait)
	case errors.Is(err, registry.ErrSubdomain):
		writeError(w, http.StatusBadRequest, codeSubdomain)
	case errors.Is(err, registry.ErrTXT):
		writeError(w, http.StatusBadRequest, codeTXT)
	default:
		a.writeFailure(w, err)
	}
}

// writeForbidden answers a failure to authenticate, and counts it.
func (a *api) writeForbidden(w http.ResponseWriter, r *http.Request) {
	if wait, ok := a.failures.take(clientAddr(r)); !ok {
		writeLimited(w, wait)
		return
	}
	writeError(w, http.StatusUnauthorized, codeForbidden)
}

// health answers 200 with nothing while updates can be stored.
func (a *api) health(w http.ResponseWriter, r *http.Request) {
	if err := a.registry.Check(r.Context()); errors.Is(err, context.Canceled) {
		writeError(w, statusGone, codeGone)
		return
	} else if err != nil {
		note(w, err)
		writeError(w, http.StatusServiceUnavailable, codeUnhealthy)
		return
	}
	w.WriteHeader(http.StatusOK)
}
