package registry_test

import (
	"context"
	"sync/atomic"
	"testing"

	"cnamed/registry"
)

// clients is how many write at once in the benchmarks.
const clients = 64

func BenchmarkUpdate(b *testing.B) {
	r := open(b, registry.Options{})
	creds := make([]registry.Credentials, 1000)
	for i := range creds {
		creds[i] = register(b, r)
	}
	var next atomic.Int64
	b.SetParallelism(clients)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(next.Add(1))
			update(b, r, creds[i%len(creds)], value(i))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

func BenchmarkUpdateAlone(b *testing.B) {
	r := open(b, registry.Options{})
	c := register(b, r)
	for i := 0; b.Loop(); i++ {
		update(b, r, c, value(i))
	}
}

func BenchmarkRegister(b *testing.B) {
	r := open(b, registry.Options{})
	b.SetParallelism(clients)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.Register(context.Background(), nil); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
}
