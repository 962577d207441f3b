package acmeclient

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"cnamed/test/ca"
)

// BenchmarkObtain is one certificate for a domain and its wildcard, from a CA that needs no time for it, and from one that
// takes 20 ms for each request, as a CA far away does. It reports how much of the time goes where.
func BenchmarkObtain(b *testing.B) {
	for _, latency := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run(fmt.Sprintf("latency=%v", latency), func(b *testing.B) {
			dns := startDNS(b)
			var requests atomic.Int64
			authority := startCA(b, ca.Options{Resolver: dns.addr, Wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					if latency > 0 {
						<-time.After(latency)
					}
					next.ServeHTTP(w, r)
				})
			}})
			c := newAccountClient(b, authority)
			key := newKey(b, EC256)
			steps := make(map[string]time.Duration)
			requests.Store(0)
			n := 0
			for b.Loop() {
				n++
				last := time.Now()
				names := []string{fmt.Sprintf("b%d.example.com", n), fmt.Sprintf("*.b%d.example.com", n)}
				_, err := c.Obtain(b.Context(), Request{Names: names, Key: key, Solver: dns, Observe: func(e Event) {
					steps[e.Kind.String()] += time.Since(last)
					last = time.Now()
				}})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(requests.Load())/float64(n), "requests/op")
			for step, took := range steps {
				b.ReportMetric(float64(took.Microseconds())/1000/float64(n), "ms-until-"+step)
			}
		})
	}
}
