package test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestLifeOfAnAccountSurvivesKill kills the server right after each step that it
// acknowledged, and finds it done after the restart.
func TestLifeOfAnAccountSurvivesKill(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	data := t.TempDir()
	s := serve(t, data)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := registerAccount(ctx, client, s.API[0])
	if err != nil {
		t.Fatal(err)
	}
	want := func(method, path, body string, status int) reply {
		t.Helper()
		r, err := call(ctx, client, method, s.API[0]+path, a, body)
		if err == nil {
			err = r.error(status)
		}
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return r
	}
	restart := func() {
		s.Kill()
		s = serve(t, data)
	}
	for i := range 3 {
		if r, err := update(ctx, client, s.API[0], a, value(i)); err != nil || r.status != http.StatusOK {
			t.Fatal(err, r)
		}
	}

	want("PATCH", "/v1/account", `{"note":"kept","allowfrom":["127.0.0.0/8"]}`, 200)
	restart()
	if body := want("GET", "/v1/account", "", 200).body; !strings.Contains(body, `"allowfrom":["127.0.0.0/8"],"note":"kept"`) {
		t.Errorf("the account is %s", body)
	}
	want("DELETE", "/v1/account/values/"+value(1), "", 204)
	restart()
	if got, err := values(ctx, s.DNS[0], a.Subdomain); err != nil || !slices.Equal(sorted(got), []string{value(0), value(2)}) {
		t.Errorf("served is %q, %v", got, err)
	}
	want("DELETE", "/v1/account/values", "", 204)
	restart()
	if got, err := values(ctx, s.DNS[0], a.Subdomain); err != nil || len(got) != 0 {
		t.Errorf("served is %q, %v", got, err)
	}
	old := a
	if err := json.Unmarshal([]byte(want("POST", "/v1/account/password", "", 200).body), &a); err != nil {
		t.Fatal(err)
	}
	restart()
	a, old = old, a
	want("GET", "/v1/account", "", 401)
	a = old
	want("GET", "/v1/account", "", 200)
	want("DELETE", "/v1/account", "", 204)
	if _, err := values(ctx, s.DNS[0], a.Subdomain); err == nil || !strings.Contains(err.Error(), "NXDOMAIN") {
		t.Errorf("the deleted name: %v", err)
	}
	restart()
	want("GET", "/v1/account", "", 401)
	if _, err := values(ctx, s.DNS[0], a.Subdomain); err == nil || !strings.Contains(err.Error(), "NXDOMAIN") {
		t.Errorf("the deleted name after a restart: %v", err)
	}
}

func sorted(list []string) []string { slices.Sort(list); return list }
