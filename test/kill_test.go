package test

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// TestAcknowledgedUpdatesSurviveKill kills the server in the middle of 1,000
// concurrent updates. What it answered 200 to is there after the restart.
func TestAcknowledgedUpdatesSurviveKill(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	data := t.TempDir()
	s := serve(t, data)
	const clients, killAfter = 1000, 300
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}

	accounts := make([]account, clients)
	var group sync.WaitGroup
	for i := range accounts {
		group.Go(func() {
			var err error
			if accounts[i], err = registerAccount(ctx, client, s.API[0]); err != nil {
				t.Errorf("registering: %v", err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}

	// Every client updates again and again, so that the kill finds updates of
	// all clients in all states. acked is the last value that was answered.
	acked := make([]atomic.Int64, clients)
	var total atomic.Int64
	kill := sync.OnceFunc(s.Kill)
	for i := range accounts {
		group.Go(func() {
			for n := 1; ; n++ {
				r, err := update(ctx, client, s.API[0], accounts[i], value(n))
				if err != nil {
					return // killed
				}
				if err := r.error(http.StatusOK); err != nil {
					t.Errorf("updating: %v", err)
					return
				}
				acked[i].Store(int64(n))
				if total.Add(1) == killAfter {
					go kill()
				}
			}
		})
	}
	group.Wait()
	kill()
	client.CloseIdleConnections()

	s = serve(t, data)
	lost, kept := 0, 0
	for i := range accounts {
		n := int(acked[i].Load())
		if n == 0 {
			continue
		}
		got, err := values(ctx, s.DNS[0], accounts[i].Subdomain)
		if err != nil {
			t.Fatal(err)
		}
		// The one after it may have been committed without an answer.
		if !slices.Contains(got, value(n)) {
			lost++
			t.Errorf("account %d: %s was answered 200, but %v is served", i, value(n), got)
		}
		kept++
	}
	t.Logf("%d updates were answered before the kill, %d accounts had one, %d lost", total.Load(), kept, lost)
	if kept == 0 {
		t.Error("no update was answered: the test shows nothing")
	}
}
