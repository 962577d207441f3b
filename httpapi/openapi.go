package httpapi

import (
	_ "embed"
	"net/http"
)

// openAPIDocument describes the whole API. A test holds it against the routes
// and the replies.
//
//go:embed openapi.json
var openAPIDocument []byte

func (a *api) openAPI(w http.ResponseWriter, _ *http.Request) {
	writeBody(w, http.StatusOK, openAPIDocument)
}
