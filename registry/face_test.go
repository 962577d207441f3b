package registry

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/google/uuid"
)

func TestRecordIs172Bytes(t *testing.T) {
	if size := unsafe.Sizeof(record{}); size != 172 {
		t.Errorf("a record has %d bytes", size)
	}
}

func FuzzFace(f *testing.F) {
	f.Add([]byte(strings.Repeat("f", faceSize)))
	// A face comes out of its words as it went in.
	f.Fuzz(func(t *testing.T, octets []byte) {
		var in face
		octets = append(octets, make([]byte, faceSize)...)
		octets = octets[copy(in.name[:], octets):]
		for i := range in.values {
			octets = octets[copy(in.values[i][:], octets):]
		}
		in.flags, in.count = recordFlags(octets[0]), octets[1]
		var words sharedFace
		words.store(&in)
		var out face
		if words.load(&out); out != in || words.flags() != in.flags || words.count() != int(in.count) {
			t.Errorf("%v became %v", in, out)
		}
	})
}

// FuzzCanonical: what reads as a UUID is what the library takes for one of 36
// characters.
func FuzzCanonical(f *testing.F) {
	f.Add("8e5700ea-0000-4000-8000-00000000000A")
	f.Add("8e5700ea-0000-4000-8000-00000000000g")
	f.Add("8e5700ea00000-4000-8000-000000000000")
	f.Fuzz(func(t *testing.T, s string) {
		want, err := uuid.Parse(s)
		id, ok := parseCanonical([]byte(s))
		if ok != (err == nil && len(s) == 36) || ok && id != want {
			t.Errorf("%q: %v, %v, want %v, %v", s, id, ok, want, err)
		}
	})
}

// TestEveryCharacterOfAUUIDCounts puts each octet in each place of one.
func TestEveryCharacterOfAUUIDCounts(t *testing.T) {
	t.Parallel()
	right := []byte("01234567-89ab-cdef-4987-65432100fA9b")
	for at := range right {
		s := slices.Clone(right)
		for c := range 256 {
			s[at] = byte(c)
			want, err := uuid.ParseBytes(s)
			if id, ok := parseCanonical(s); ok != (err == nil) || ok && id != want {
				t.Errorf("%q: %v, %v, want %v, %v", s, id, ok, want, err)
			}
		}
	}
}

// TestNamesWithOneTag: what is found first under the tag of a name is another one.
func TestNamesWithOneTag(t *testing.T) {
	t.Parallel()
	x, labels := bigIndex(t, 500)
	k := x.key([]byte(labels[0]))
	s := x.shard(&k)
	n, _ := s.find(&k)
	s.names = table{}
	for other := range s.records.len {
		if other != n {
			s.names.insert(k.hash, other)
		}
	}
	if _, ok := x.appendTXT(nil, []byte(labels[0])); ok {
		t.Error("a name that is not there has the values of others")
	}
	s.names.insert(k.hash, n)
	if dst, ok := x.appendTXT(nil, []byte(labels[0])); !ok || len(texts(dst)) != 2 {
		t.Errorf("%q, %v", dst, ok)
	}
}

// rival is an account of TestQueriesSeeChangesWhole: its values are its number
// and that of its change, which rises from one to the next, also over deletions.
type rival struct {
	entry Entry
	label []byte
	next  int
	made  atomic.Int64 // the last change that is complete; -1: there is none now
}

func (r *rival) value(number, change int) Value {
	return Value{fmt.Sprintf("%021d%022d", number, change), time.Unix(int64(change), 0)}
}

// TestQueriesSeeChangesWhole has accounts of one shard change and come and go in
// each other's places, while queries for them run: each sees values of one
// moment, of the right account, and never older than what was complete before it
// began.
func TestQueriesSeeChangesWhole(t *testing.T) {
	t.Parallel()
	x := newIndex()
	rivals := make([]*rival, 6)
	for i := range rivals {
		r := &rival{entry: newEntry()}
		for {
			if i%2 == 0 {
				r.entry.Subdomain = "by-hand-" + uuid.NewString()[:8]
			} else {
				r.entry.Subdomain = uuid.NewString()
			}
			if k := x.key([]byte(r.entry.Subdomain)); k.hash%shardCount == 0 {
				break
			}
		}
		r.entry.Values = nil
		r.label = []byte(r.entry.Subdomain)
		r.made.Store(-1)
		rivals[i] = r
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var dst []byte
			for {
				for i, r := range rivals {
					select {
					case <-stop:
						return
					default:
					}
					before := r.made.Load()
					x.warm([][]byte{r.label})
					var exists bool
					dst, exists = x.appendTXT(dst[:0], r.label)
					if fault := r.check(i, before, texts(dst), exists); fault != "" {
						t.Errorf("account %d after change %d: %s", i, before, fault)
						return
					}
				}
			}
		})
	}
	for step := range 20_000 {
		i := step * 7 % len(rivals)
		rivals[i].change(t, x, i, step)
	}
	close(stop)
	readers.Wait()
}

// change does the next thing to the account.
func (r *rival) change(t *testing.T, x *index, number, step int) {
	apply := func(m Mutation) {
		if err := x.apply(m); err != nil {
			t.Fatal(err)
		}
	}
	if r.made.Load() < 0 {
		apply(CreateAccount{r.entry.Account})
	}
	r.next++
	if step%11 == 0 || step < 10_000 && step%5 < 2 {
		r.made.Store(-1)
		apply(DeleteAccount{r.entry.Username})
		return
	}
	apply(PutValue{r.entry.Username, r.value(number, r.next)})
	r.made.Store(int64(r.next))
	for old := r.next - 4; old < r.next-3+step%3; old++ {
		apply(DropValue{r.entry.Username, r.value(number, old)})
	}
}

// check returns what is wrong with values.
func (r *rival) check(number int, before int64, values []string, exists bool) string {
	if !exists {
		if before >= 0 && r.made.Load() == before {
			return "it does not exist"
		}
		return ""
	}
	last := int64(1 << 40)
	for i, v := range values {
		whose, err1 := strconv.Atoi(v[:21])
		change, err2 := strconv.ParseInt(v[21:], 10, 64)
		if err1 != nil || err2 != nil || whose != number || change >= last || i > 0 && i < alwaysKept && change != last-1 {
			return fmt.Sprintf("it has %q", values)
		}
		if i == 0 && change < before {
			return fmt.Sprintf("the newest is %d", change)
		}
		last = change
	}
	return ""
}

// TestQueriesDoNotWaitForAWriter stops a writer in the middle of a change.
func TestQueriesDoNotWaitForAWriter(t *testing.T) {
	t.Parallel()
	x := newIndex()
	var pair [2]Entry
	for i := range pair {
		for pair[i] = newEntry(); ; pair[i] = newEntry() {
			if k := x.key([]byte(pair[i].Subdomain)); k.hash%shardCount == 0 {
				break
			}
		}
		pair[i].Values = []Value{{strings.Repeat("a", 43), time.Unix(1, 0)}, {strings.Repeat("b", 43), time.Unix(2, 0)}}
		if err := x.add(&pair[i]); err != nil {
			t.Fatal(err)
		}
	}
	s := &x.names[0]
	s.mu.Lock() // as a writer has it
	defer s.mu.Unlock()
	k := x.key([]byte(pair[0].Subdomain))
	n, _ := s.find(&k)
	var f face
	s.read(n, &f)
	f.values[0], f.values[1] = toTXT(strings.Repeat("c", 43)), f.values[0]
	s.pending.Store(&change{during: s.version.Load() + 1, number: n, face: f})
	s.version.Add(1)
	s.records.at(n).face[5].Store(0)

	want := [2][]string{{strings.Repeat("c", 43), strings.Repeat("b", 43)}, {strings.Repeat("b", 43), strings.Repeat("a", 43)}}
	for i := range pair {
		list, exists := x.appendTXT(nil, []byte(pair[i].Subdomain))
		if got := texts(list); !exists || !slices.Equal(got, want[i]) {
			t.Errorf("account %d has %q, want %q", i, got, want[i])
		}
	}
	if _, exists := x.appendTXT(nil, []byte(uuid.NewString())); exists {
		t.Error("an absent name exists")
	}
}
