package httpapi_test

import (
	"net/http"
	"strings"
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

func TestWhatIsDeletedIsNamedAsItIs(t *testing.T) {
	t.Parallel()
	reg := newRegistry(t)
	o := newOwner(t, httpapi.New(reg, httpapi.Options{Domain: "auth.example.org"}))
	txt := strings.Repeat("t", 43)
	o.do(http.MethodPost, "/update", `{"subdomain":"`+o.subdomain+`","txt":"`+txt+`"}`)
	for _, path := range []string{
		"/v1/account/values/", "/v1/account/values//", "/v1/account/values/.", "/v1/account/values/..", "/v1/account/",
		"/v1/account/values/../../account", "/t/secret/v1/account/", "/v1/account/values/" + txt + "/",
	} {
		if w := o.do(http.MethodDelete, path, ""); w.Code != 404 {
			t.Errorf("DELETE %s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := o.do(http.MethodGet, "//v1/account/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), txt) {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"//v1/account/values/" + txt, "/t/secret//v1/account"} {
		if w := o.do(http.MethodDelete, path, ""); w.Code != 204 {
			t.Errorf("DELETE %s: %d %s", path, w.Code, w.Body)
		}
	}
}
