package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"

	"cnamed/registry"
)

// registerRequest is the body of POST /register. Keys are matched without
// regard to case, and all others are ignored.
type registerRequest struct {
	AllowFrom []string `json:"allowfrom"`
}

// registerReply is the body of the 201. The order of the keys is kept: clients
// cut it with sed.
type registerReply struct {
	Username   string   `json:"username"`
	Password   string   `json:"password"`
	FullDomain string   `json:"fulldomain"`
	Subdomain  string   `json:"subdomain"`
	AllowFrom  []string `json:"allowfrom"`
}

func (a *api) register(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	var token string
	if a.registration == RegistrationToken {
		if token, ok = a.permit(w, r); !ok {
			return
		}
	}
	var req registerRequest
	// No body at all is a request without wishes; white space is malformed.
	if len(body) > 0 {
		if err := json.Unmarshal(body, &req); err != nil {
			writeError(w, http.StatusBadRequest, codeMalformed)
			return
		}
	}
	if wait, ok := a.registrations.take(clientAddr(r)); !ok {
		writeLimited(w, wait)
		return
	}
	cred, err := a.registry.RegisterAs(r.Context(), registry.Registration{AllowFrom: req.AllowFrom, Token: token})
	switch {
	case errors.Is(err, registry.ErrToken): // its last use went to somebody else
		a.writeTokenFailure(w, r, true)
		return
	case errors.Is(err, registry.ErrAllowFrom):
		writeError(w, http.StatusBadRequest, codeAllowFrom)
		return
	case err != nil:
		a.writeFailure(w, err)
		return
	}
	writeJSON(w, http.StatusCreated, registerReply{
		Username:   cred.Username.String(),
		Password:   cred.Password.Reveal(),
		FullDomain: cred.Subdomain + "." + a.domain,
		Subdomain:  cred.Subdomain,
		AllowFrom:  cred.AllowFrom,
	})
}
