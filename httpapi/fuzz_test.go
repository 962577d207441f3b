package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"cnamed/httpapi"
)

// Any body gets a status of the set and one line of JSON, and is never an error
// of the server.
func fuzzBody(f *testing.F, path string, statuses ...int) {
	for _, s := range []string{"", "{}", "null", " ", "[]", `{"allowfrom":["192.0.2.0/24"]}`, `{"AllowFrom":[""]}`,
		`{"subdomain":"x","txt":"` + strings.Repeat("x", 43) + `"}`, `{"txt":1}`, "{", "\xff",
		`{"subdomain":"mine","note":"n"}`, `{"subdomain":"www"}`, `{"subdomain":5,"note":"\n"}`} {
		f.Add(s)
	}
	h := httpapi.New(newRegistry(f), httpapi.Options{
		Domain: "auth.example.org", ChosenNames: true, Reserved: func(label string) bool { return label == "www" },
	})
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !slices.Contains(statuses, w.Code) {
			t.Errorf("status %d", w.Code)
		}
		reply := w.Body.String()
		if !json.Valid([]byte(reply)) || strings.Contains(reply, "\n") {
			t.Errorf("reply %q", reply)
		}
	})
}

func FuzzRegister(f *testing.F) { fuzzBody(f, "/register", 201, 400, 409, 413) }

func FuzzUpdate(f *testing.F) { fuzzBody(f, "/update", 401, 413) }
