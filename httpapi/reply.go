package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"

	"cnamed/registry"
)

// The codes of errors. Clients and operators match them; none is ever renamed.
const (
	codeMalformed  = "malformed_json_payload"
	codeAllowFrom  = "invalid_allowfrom_cidr"
	codeNote       = "bad_note"
	codeLockout    = "would_lock_out"
	codeReserved   = "reserved_subdomain"
	codeTaken      = "subdomain_taken"
	codeForbidden  = "forbidden"
	codeSubdomain  = "bad_subdomain"
	codeTXT        = "bad_txt"
	codeStore      = "db_error"
	codeOverloaded = "overloaded"
	codeLimited    = "rate_limited"
	codeUnhealthy  = "unhealthy"
	codeNotFound   = "not_found"
	codeMethod     = "method_not_allowed"
	codeTooLarge   = "payload_too_large"
	codeTimeout    = "request_timeout"
	codeInternal   = "internal_error"
	codeGone       = "client_gone" // in logs and metrics only

	codeTokenRequired = "token_required"
	codeToken         = "invalid_token"
)

// statusGone is what a request counts as whose client did not wait for the reply.
const statusGone = 499

// readBody reads the body, or answers why not.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return body, true
	case errors.As(err, &tooLarge):
		writeError(w, http.StatusRequestEntityTooLarge, codeTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		writeError(w, http.StatusRequestTimeout, codeTimeout)
	default: // cut off, or broken chunks
		w.Header().Set("Connection", "close")
		writeError(w, http.StatusBadRequest, codeMalformed)
	}
	return nil, false
}

// writeFailure answers an error that is not the client's.
func (a *api) writeFailure(w http.ResponseWriter, err error) {
	note(w, err)
	if errors.Is(err, context.Canceled) {
		writeError(w, statusGone, codeGone)
		return
	}
	if errors.Is(err, registry.ErrOverloaded) {
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusServiceUnavailable, codeOverloaded)
		return
	}
	if errors.Is(err, registry.ErrUnavailable) {
		w.Header().Set("Retry-After", "5")
		writeError(w, http.StatusServiceUnavailable, codeStore)
		return
	}
	writeError(w, http.StatusInternalServerError, codeStore)
}

// writeError answers with a code. The space after the colon is what existing
// clients look for.
func writeError(w http.ResponseWriter, status int, code string) {
	if rec, ok := w.(*recorder); ok {
		rec.code = code
	}
	writeBody(w, status, []byte(`{"error": "`+code+`"}`))
}

// writeJSON answers with v on one line, with no newline at its end.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of strings always encode
	}
	writeBody(w, status, body)
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// A client that went away cannot be told.
	_, _ = w.Write(body)
}
