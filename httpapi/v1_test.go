package httpapi_test

import (
	"testing"

	"cnamed/httpapi"
)

func TestEndpointsAreNamedFromAClosedSet(t *testing.T) {
	t.Parallel()
	var got string
	h := httpapi.New(&fake{}, httpapi.Options{Observe: func(o httpapi.Observation) { got = o.Endpoint }})
	for path, want := range map[string]string{
		"/register": "register", "/v1/openapi.json": "openapi", "/t/secret/v1/account": "account",
		"/v1/account/": "account", "/v1/account/password": "password", "/v1/account/values": "values",
		"//v1/account/values/x": "values", "/v1/account/values/x/y": "other", "/v1": "other", "/v1/x": "other",
	} {
		do(h, "OPTIONS", path, "")
		if got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}
