package registry

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestWarmChangesNothing: whatever it is told of, and in whatever number, it finds
// its way back, and leaves nothing for the garbage collector.
func TestWarmChangesNothing(t *testing.T) {
	x, labels := bigIndex(t, 1000)
	r := &Registry{}
	r.index.Store(x)
	told := [][]byte{nil, {}, []byte("www"), []byte(strings.ToUpper(labels[0])), []byte(labels[1] + "x"), []byte(strings.Repeat("-", 36))}
	for _, label := range append(missing(40), labels[:40]...) {
		told = append(told, []byte(label))
	}
	if n := testing.AllocsPerRun(100, func() { r.Warm(told) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	r.Warm(nil)
	for _, label := range labels[:40] {
		if got, exists, err := Served(r, label); len(got) != 2 || !exists || err != nil {
			t.Errorf("%s has %q, %v, %v", label, got, exists, err)
		}
	}
	empty := &Registry{}
	empty.index.Store(newIndex())
	empty.Warm(told)
}

// BenchmarkWarm is what the names of a batch cost, when they are not in the cache.
func BenchmarkWarm(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		x, labels := bigIndex(b, n)
		r := &Registry{}
		r.index.Store(x)
		rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { labels[i], labels[j] = labels[j], labels[i] })
		asked := []byte(strings.Join(labels, "")) // in the order of the memory, so that they are at hand
		batch := make([][]byte, warmAtOnce)
		dst := make([]byte, 0, 128)
		for _, warm := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/warm=%v", n, warm), func(b *testing.B) {
				for next := 0; b.Loop(); {
					for i := range batch {
						batch[i] = asked[36*next : 36*(next+1)]
						next = (next + 1) % n
					}
					if warm {
						r.Warm(batch)
					}
					for _, label := range batch {
						_, _, _ = r.AppendTXT(dst, label)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/name")
			})
		}
	}
}
