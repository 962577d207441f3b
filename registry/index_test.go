package registry

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func FuzzAllowFrom(f *testing.F) {
	for _, s := range []string{"192.0.2.1/24", "[::1]/64", "::ffff:192.0.2.1/120", "::/0", "::ffff:0.0.0.0/0", "1.2.3.4", "", "/", "[/0"} {
		f.Add(s)
	}
	// What is accepted reads the same when it is stored and read again, has no
	// brackets, and contains the address that it names. (An IPv4-mapped address
	// before a prefix that is wider than all of them names IPv6 addresses, and
	// clients with a mapped address count as IPv4.)
	f.Fuzz(func(t *testing.T, s string) {
		clean, err := cleanAllowFrom([]string{s})
		if err != nil {
			return
		}
		again, err := cleanAllowFrom(clean)
		if err != nil || again[0] != clean[0] || strings.ContainsAny(clean[0], "[]") {
			t.Fatalf("%q became %q and then %q, %v", s, clean, again, err)
		}
		list := newAllowList(&Account{AllowFrom: clean})
		addr, err := netip.ParseAddr(clean[0][:strings.LastIndexByte(clean[0], '/')])
		if err == nil && addr.Is4In6() && list.prefixes[0].Addr().Is6() {
			return
		}
		if list.locked || err != nil || !list.allows(addr) {
			t.Errorf("%q does not contain its own address (%v)", clean[0], err)
		}
	})
}

func TestTableFindsWhatWasInserted(t *testing.T) {
	t.Parallel()
	var table table
	rng := rand.New(rand.NewPCG(1, 2))
	hashes := make([]uint64, 10_000)
	for i := range hashes {
		hashes[i] = rng.Uint64() & 0x3ff_ffff_ffff // some tags collide
		table.insert(hashes[i], uint32(i))
	}
	for i, h := range hashes {
		got, ok := table.find(h, func(n uint32) bool { return n == uint32(i) })
		if !ok || got != uint32(i) {
			t.Fatalf("number %d: %d, %v", i, got, ok)
		}
	}
	if _, ok := table.find(hashes[0], func(uint32) bool { return false }); ok {
		t.Error("found what no key equals")
	}
}

// TestFirstIsFoundAmongTheDead has few tags, 0 among them, come and go, so that
// there are dead places before what is looked for, and others of the same tag.
func TestFirstIsFoundAmongTheDead(t *testing.T) {
	t.Parallel()
	var table table
	rng := rand.New(rand.NewPCG(3, 4))
	live := map[uint32]uint64{}
	for n := range uint32(5000) {
		hash := rng.Uint64N(20) << 32
		table.insert(hash, n)
		live[n] = hash
		for gone, hash := range live {
			if len(live) < 12 {
				break
			}
			table.remove(hash, func(n uint32) bool { return n == gone })
			delete(live, gone)
		}
		for tag := range uint64(20) {
			got, ok := table.first(tag << 32)
			want, exists := table.find(tag<<32, func(uint32) bool { return true })
			if ok != exists || ok && (got != want || live[got] != tag<<32) {
				t.Fatalf("after %d, tag %d: %d, %v, but %d, %v", n, tag, got, ok, want, exists)
			}
		}
	}
}

// bigIndex returns an index of n accounts with two values each, and their names.
func bigIndex(t testing.TB, n int) (x *index, labels []string) {
	t.Helper()
	x = newIndex()
	values := []Value{{strings.Repeat("a", 43), time.Unix(1, 0)}, {strings.Repeat("b", 43), time.Unix(2, 0)}}
	hash := HashPassword("p")
	for range n {
		e := Entry{Account: Account{Username: uuid.New(), PasswordHash: hash, Subdomain: uuid.NewString()}, Values: values}
		if err := x.add(&e); err != nil {
			t.Fatal(err)
		}
		labels = append(labels, e.Subdomain)
	}
	return x, labels
}

func TestIndexIsCompact(t *testing.T) {
	const n = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	x, _ := bigIndex(t, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("%d bytes an account", each)
	if each > 240 {
		t.Errorf("an account takes %d bytes", each)
	}
	runtime.KeepAlive(x)
}

func TestLookupAllocatesNothing(t *testing.T) {
	x, labels := bigIndex(t, 1000)
	dst := make([]byte, 0, 128)
	for _, label := range []string{uuid.NewString(), "www", labels[0]} {
		label := []byte(label)
		if n := testing.AllocsPerRun(100, func() { x.appendTXT(dst, label) }); n != 0 {
			t.Errorf("%s: %v allocations", label, n)
		}
	}
}

func BenchmarkAppendTXT(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		x, labels := bigIndex(b, n)
		r := &Registry{}
		r.index.Store(x)
		for _, bench := range []struct {
			name   string
			labels []string
		}{{"hit", labels[:1000]}, {"miss", missing(1024)}, {"junk", []string{"www"}}} {
			b.Run(fmt.Sprintf("%s/%d", bench.name, n), func(b *testing.B) {
				b.ReportAllocs()
				dst := make([]byte, 0, 128)
				asked := make([][]byte, len(bench.labels))
				for i, label := range bench.labels {
					asked[i] = []byte(label)
				}
				for i := 0; b.Loop(); i++ {
					_, _, _ = r.AppendTXT(dst, asked[i%len(asked)])
				}
			})
		}
	}
}

func missing(n int) (labels []string) {
	for range n {
		labels = append(labels, uuid.NewString())
	}
	return labels
}
