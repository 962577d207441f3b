//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// account is what a client of the API keeps.
type account struct {
	Username, Password, Subdomain string
}

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
	transport := &http.Transport{MaxIdleConnsPerHost: l.clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	accounts := l.accounts
	for len(accounts) < l.clients {
		body, err := post(ctx, client, l.url+"/register", account{}, "")
		if err != nil {
			return r, err
		}
		var a account
		if err := json.Unmarshal(body, &a); err != nil {
			return r, err
		}
		accounts = append(accounts, a)
	}

	var mu sync.Mutex
	var group sync.WaitGroup
	start := time.Now()
	for i := range l.clients {
		group.Go(func() {
			var mine []time.Duration
			var failed error
			for n := i; failed == nil && time.Since(start) < duration && ctx.Err() == nil; n += l.clients {
				began := time.Now()
				if l.registers {
					_, failed = post(ctx, client, l.url+"/register", account{}, "")
				} else {
					a := accounts[n*stride%len(accounts)]
					value := fmt.Sprintf("value_%016d_%020d", i, n)
					_, failed = post(ctx, client, l.url+"/update", a, `{"subdomain":"`+a.Subdomain+`","txt":"`+value+`"}`)
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

func post(ctx context.Context, client *http.Client, url string, a account, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if a.Username != "" {
		request.Header.Set("X-Api-User", a.Username)
		request.Header.Set("X-Api-Key", a.Password)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(reply))
	}
	return reply, err
}
