//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// apiLoad is clients of the API, each of which calls again as soon as it is answered.
type apiLoad struct {
	target    *target // for profiles; nil: none are taken
	name      string
	url       string
	registers bool      // or updates
	accounts  []account // what is updated, each in its turn; none: clients register one each
	clients   int
}

// apiResult is what calls took.
type apiResult struct {
	latencies []time.Duration
	elapsed   time.Duration
}

func (r apiResult) perSecond() float64 { return float64(len(r.latencies)) / r.elapsed.Seconds() }

// and is both, one after the other.
func (r apiResult) and(o apiResult) apiResult {
	return apiResult{append(r.latencies, o.latencies...), r.elapsed + o.elapsed}
}

// stride visits all accounts before one comes again, far from each other: it is a
// prime.
const stride = 7_368_787

func (l apiLoad) run(ctx context.Context, duration time.Duration) (r apiResult, err error) {
	clients := make([]*apiClient, l.clients)
	for i := range clients {
		if clients[i], err = dialAPI(l.url); err != nil {
			return r, err
		}
		defer clients[i].close()
	}
	accounts := l.accounts
	for len(accounts) < l.clients {
		reply, err := clients[0].register()
		if err != nil {
			return r, err
		}
		var a account
		if err := json.Unmarshal(reply, &a); err != nil {
			return r, err
		}
		accounts = append(accounts, a)
	}

	var mu sync.Mutex
	var group sync.WaitGroup
	start := time.Now()
	for i, client := range clients {
		group.Go(func() {
			var mine []time.Duration
			var failed error
			for n := i; failed == nil && time.Since(start) < duration && ctx.Err() == nil; n += l.clients {
				began := time.Now()
				if l.registers {
					_, failed = client.register()
				} else {
					failed = client.update(accounts[n*stride%len(accounts)], fmt.Sprintf("value_%016d_%020d", i, n))
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			r.latencies = append(r.latencies, mine...)
			if err == nil {
				err = failed
			}
		})
	}
	group.Wait()
	r.elapsed = time.Since(start)
	return r, err
}
