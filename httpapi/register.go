package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"cnamed/registry"
)

// registerRequest is the body of POST /register. Keys are matched without
// regard to case, and all others are ignored.
type registerRequest struct {
	AllowFrom []string        `json:"allowfrom"`
	Note      json.RawMessage `json:"note"`
	Subdomain json.RawMessage `json:"subdomain"`
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
	wish := registry.Registration{AllowFrom: req.AllowFrom}
	if !textOf(req.Note, &wish.Note) {
		writeError(w, http.StatusBadRequest, codeNote)
		return
	}
	if a.chosen && !textOf(req.Subdomain, &wish.Subdomain) {
		writeError(w, http.StatusBadRequest, codeSubdomain)
		return
	}
	if a.reserved(strings.ToLower(wish.Subdomain)) {
		writeError(w, http.StatusConflict, codeReserved)
		return
	}
	if wait, ok := a.registrations.take(clientAddr(r)); !ok {
		writeLimited(w, wait)
		return
	}
	wish.Token = token
	cred, err := a.registry.RegisterAs(r.Context(), wish)
	if err != nil {
		a.writeRegisterError(w, r, err)
		return
	}
	writeJSON(w, http.StatusCreated, a.registerReply(cred))
}

// textOf reads a text; absent and null are none.
func textOf(value json.RawMessage, text *string) bool {
	return value == nil || json.Unmarshal(value, text) == nil
}

func (a *api) writeRegisterError(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, registry.ErrToken): // its last use went to somebody else
		a.writeTokenFailure(w, r, true)
	case errors.Is(err, registry.ErrAllowFrom):
		writeError(w, http.StatusBadRequest, codeAllowFrom)
	case errors.Is(err, registry.ErrNote):
		writeError(w, http.StatusBadRequest, codeNote)
	case errors.Is(err, registry.ErrSubdomain):
		writeError(w, http.StatusBadRequest, codeSubdomain)
	case errors.Is(err, registry.ErrReserved):
		writeError(w, http.StatusConflict, codeReserved)
	case errors.Is(err, registry.ErrExists):
		writeError(w, http.StatusConflict, codeTaken)
	default:
		a.writeFailure(w, err)
	}
}

func (a *api) registerReply(cred registry.Credentials) registerReply {
	return registerReply{
		Username:   cred.Username.String(),
		Password:   cred.Password.Reveal(),
		FullDomain: cred.Subdomain + "." + a.domain,
		Subdomain:  cred.Subdomain,
		AllowFrom:  cred.AllowFrom,
	}
}
