package httpapi

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/gorilla/mux"
)

// Routes returns what h routes, as "GET /health".
func Routes(h http.Handler) (routes []string, err error) {
	err = h.(*api).router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := route.GetMethods()
		for _, m := range methods {
			routes = append(routes, m+" "+path)
		}
		return err
	})
	return routes, err
}

// RequestKeys returns the keys of request bodies, by the name of their schema.
func RequestKeys() map[string][]string {
	keys := map[string][]string{}
	for name, v := range map[string]any{
		"Registration": registerRequest{}, "Update": updateRequest{}, "Change": changeRequest{},
	} {
		t := reflect.TypeOf(v)
		for i := range t.NumField() {
			key, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			keys[name] = append(keys[name], key)
		}
	}
	return keys
}
