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
	cred, err := a.create(w, r, token, req.AllowFrom)
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

// create makes the account, by the right of a token where one is asked for.
func (a *api) create(w http.ResponseWriter, r *http.Request, token string, allowFrom []string) (registry.Credentials, error) {
	if a.registration != RegistrationToken {
		return a.registry.Register(r.Context(), allowFrom)
	}
	if rec, ok := w.(*recorder); ok {
		rec.token = token
	}
	return a.registry.RegisterWithToken(r.Context(), token, allowFrom)
}
