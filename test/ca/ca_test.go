package ca

import (
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

func TestManyRunAtOnceAndLeaveTheEnvironmentAlone(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "as it was")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			authority, err := Start(Options{NonceRejectPercent: 10 * i})
			if err != nil {
				t.Error(err)
				return
			}
			client := authority.HTTPClient()
			defer client.CloseIdleConnections()
			res, err := client.Get(authority.Directory())
			if err != nil {
				t.Error(err)
			} else {
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || !strings.Contains(string(body), `"newOrder"`) {
					t.Errorf("directory: %s, %v", body, err)
				}
			}
			if err := authority.Close(); err != nil {
				t.Error(err)
			}
			if _, err := client.Get(authority.Directory()); err == nil {
				t.Error("a closed CA answers")
			}
		})
	}
	group.Wait()
	if got := os.Getenv("PEBBLE_VA_NOSLEEP"); got != "as it was" {
		t.Errorf("PEBBLE_VA_NOSLEEP is %q", got)
	}
	if got, ok := os.LookupEnv("PEBBLE_WFE_NONCEREJECT"); ok {
		t.Errorf("PEBBLE_WFE_NONCEREJECT is left at %q", got)
	}
}

func TestItsCertificateIsNotTrustedByChance(t *testing.T) {
	t.Parallel()
	one, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	client := one.HTTPClient()
	defer client.CloseIdleConnections()
	if _, err := client.Get(two.Directory()); err == nil {
		t.Error("the root of one CA is trusted for another")
	}
}

func TestFaultsCanBePutInFront(t *testing.T) {
	t.Parallel()
	authority, err := Start(Options{Wrap: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer authority.Close()
	client := authority.HTTPClient()
	defer client.CloseIdleConnections()
	res, err := client.Get(authority.Directory())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusTeapot {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"key algorithm": {KeyAlgorithm: "dsa"},
		"EAB key":       {EABKeys: map[string]string{"id": "!"}},
		"blocklist":     {Blocklist: []string{""}},
	} {
		if authority, err := Start(opts); err == nil {
			authority.Close()
			t.Errorf("bad %s was accepted", name)
		}
	}
}
