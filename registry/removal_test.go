package registry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestTableIsAMap does random things to a table whose hashes collide and wrap
// around, and compares it with a map after each.
func TestTableIsAMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(15) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var tab table
		model := map[uint32]uint64{} // hashes by number
		for range 2000 {
			n := rng.Uint32N(60)
			hash, there := model[n]
			switch {
			case !there && rng.IntN(5) < 3:
				// 8 homes at both ends of a table of up to 128 slots.
				hash = uint64(rng.Uint32N(8)-4) << 32
				tab.insert(hash, n)
				model[n] = hash
			case there:
				tab.remove(hash, func(m uint32) bool { return m == n })
				delete(model, n)
			default:
				tab.remove(uint64(rng.Uint32N(8)-4)<<32, func(m uint32) bool { return m == n })
			}
			if tab.used != len(model) {
				t.Fatalf("seed %d: %d in use, want %d", seed, tab.used, len(model))
			}
			for m := range uint32(60) {
				hash, want := model[m]
				got, ok := tab.find(hash, func(k uint32) bool { return k == m })
				if ok != want || ok && got != m {
					t.Fatalf("seed %d: number %d: %d, %v, want %v", seed, m, got, ok, want)
				}
			}
		}
	}
}

func TestArenaUsesPlacesAgain(t *testing.T) {
	t.Parallel()
	var a arena
	for range 3 {
		rec, _, _ := a.add()
		rec.user, rec.hash[0], rec.at[1], rec.allow, rec.born, rec.used = uuid.New(), 1, 2, 3, 4, 5
	}
	a.remove(0)
	a.remove(2)
	for _, want := range []uint32{2, 0, 3} {
		rec, n, _ := a.add()
		if n != want || rec.user != uuid.Nil || rec.hash[0] != 0 || rec.at[1]+rec.allow+rec.born+rec.used != 0 {
			t.Errorf("place %d, want %d; its record is %v", n, want, rec)
		}
	}
	if a.len != 4 {
		t.Errorf("%d places, want 4", a.len)
	}
}

// modelAccount is an account as the model of the index knows it.
type modelAccount struct {
	Account
	values []string // the newest first
}

// model is the index as plain maps.
type model struct {
	users map[uuid.UUID]*modelAccount
	rng   *rand.Rand
}

// TestIndexIsAMap applies random mutations to an index and to plain maps, while
// others read, and compares both again and again.
func TestIndexIsAMap(t *testing.T) {
	t.Parallel()
	x := newIndex()
	m := &model{users: map[uuid.UUID]*modelAccount{}, rng: rand.New(rand.NewPCG(7, 7))}
	names := make([]string, 40)
	users := make([]uuid.UUID, 40)
	for i := range names {
		users[i] = uuid.New()
		switch i % 4 {
		case 0:
			names[i] = fmt.Sprintf("Typed.By-Hand-%d", i)
		case 1:
			names[i] = strings.ToUpper(uuid.NewString())
		default:
			names[i] = uuid.NewString()
		}
	}

	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() { readAll(t, x, names, users, stop) })
	}
	for step := range 20_000 {
		for _, mut := range m.step(names, users) {
			if err := x.apply(mut); err != nil {
				t.Fatal(err)
			}
		}
		if step%500 == 0 {
			m.compare(t, x, names, users)
		}
	}
	close(stop)
	readers.Wait()
	m.compare(t, x, names, users)
	for _, u := range users {
		x.remove(u)
	}
	wantEmpty(t, x, len(names))
}

// wantEmpty checks that nothing is left of accounts, of which there were never
// more than most at once.
func wantEmpty(t *testing.T, x *index, most int) {
	t.Helper()
	for i := range shardCount {
		s, u := &x.names[i], &x.users[i]
		left := s.names.used + u.table.used + len(s.spelling) + len(s.bcrypt) + s.older.table.used +
			len(s.notes) + len(s.updated)
		if left != 0 {
			t.Errorf("shard %d has %d things left", i, left)
		}
		if n := s.records.len; n > uint32(most) {
			t.Errorf("shard %d has %d places for %d accounts", i, n, most)
		}
	}
	if n := x.size.Load() + x.locked.Load() + int64(len(x.allow.number)); n != 0 {
		t.Errorf("%d accounts, %d locked, %d allow lists", x.size.Load(), x.locked.Load(), len(x.allow.number))
	}
}

// step returns a random mutation and does it to the model.
func (m *model) step(names []string, users []uuid.UUID) []Mutation {
	i := m.rng.IntN(len(users))
	u := users[i]
	a, there := m.users[u]
	if !there {
		a := Account{Username: u, PasswordHash: HashPassword(names[i]), Subdomain: names[i], Created: time.Unix(int64(i+1), 0)}
		switch m.rng.IntN(4) {
		case 0:
			a.PasswordHash = []byte("$2a$10$" + names[i])
		case 1:
			a.AllowFrom = []string{fmt.Sprintf("10.0.%d.0/24", m.rng.IntN(20)), "::1/128"}
		case 2:
			a.Locked = m.rng.IntN(2) == 0
			a.Note = "made"
		}
		m.users[u] = &modelAccount{Account: a}
		return []Mutation{CreateAccount{a}}
	}
	switch m.rng.IntN(7) {
	case 0:
		delete(m.users, u)
		return []Mutation{DeleteAccount{u}}
	case 1:
		a.AllowFrom, a.Locked = nil, false
		if m.rng.IntN(2) == 0 {
			a.AllowFrom = []string{fmt.Sprintf("10.1.%d.0/24", m.rng.IntN(20))}
		}
		return []Mutation{SetAllowFrom{u, a.AllowFrom}}
	case 2:
		a.Note = []string{"", "a note"}[m.rng.IntN(2)]
		return []Mutation{SetNote{u, a.Note}}
	case 3:
		a.Authenticated = time.Unix(max(a.Authenticated.Unix(), 0)+1, 0)
		return []Mutation{MarkUsed{Username: u, Authenticated: a.Authenticated}}
	case 4:
		var drop []Mutation
		for _, v := range a.values {
			drop = append(drop, DropValue{u, Value{v, time.Unix(9, 0)}})
		}
		a.values, a.Updated = nil, time.Unix(9, 0)
		return append(drop, MarkUsed{Username: u, Updated: time.Unix(9, 0)})
	default:
		v := fmt.Sprintf("%043d", m.rng.IntN(5))
		a.values = slices.Insert(slices.DeleteFunc(a.values, func(s string) bool { return s == v }), 0, v)
		a.Updated = time.Unix(9, 0)
		return []Mutation{PutValue{u, Value{v, time.Unix(9, 0)}}}
	}
}

func (m *model) compare(t *testing.T, x *index, names []string, users []uuid.UUID) {
	t.Helper()
	if n := int(x.size.Load()); n != len(m.users) {
		t.Fatalf("%d accounts, want %d", n, len(m.users))
	}
	locked := 0
	lists := map[string]bool{}
	for i, u := range users {
		d, ok := x.details(u)
		a, want := m.users[u]
		list, served := x.appendTXT(nil, []byte(lowerASCII(names[i])))
		if ok != want || served != want {
			t.Fatalf("%s: there %v, served %v, want %v", names[i], ok, served, want)
		}
		if !want {
			continue
		}
		if a.Locked {
			locked++
		} else if len(a.AllowFrom) > 0 {
			lists[strings.Join(a.AllowFrom, ",")] = true
		}
		c, _ := x.credentials(u)
		if d.Subdomain != a.Subdomain || d.Note != a.Note || d.Locked != a.Locked || !d.Created.Equal(a.Created) ||
			!d.Updated.Equal(a.Updated) || !d.Authenticated.Equal(latest(a.Authenticated, a.Updated)) || !slices.Equal(texts(list), a.values) ||
			!a.Locked && !slices.Equal(d.AllowFrom, a.AllowFrom) ||
			c.subdomain != a.Subdomain || (c.bcrypt != nil) != isBcrypt(a.PasswordHash) {
			t.Fatalf("got  %+v serving %q\nwant %+v", d, texts(list), a)
		}
	}
	if n := int(x.locked.Load()); n != locked {
		t.Errorf("%d are locked, want %d", n, locked)
	}
	if n := len(x.allow.number); n != len(lists) {
		t.Errorf("%d allow lists are kept, %d are in use", n, len(lists))
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// readAll reads what the server reads until stop: an account is seen whole, as
// its own or not at all.
func readAll(t *testing.T, x *index, names []string, users []uuid.UUID, stop <-chan struct{}) {
	var dst []byte
	for i := 0; ; i = (i + 1) % len(users) {
		select {
		case <-stop:
			return
		default:
		}
		if c, ok := x.credentials(users[i]); ok {
			if c.subdomain != names[i] || c.bcrypt == nil && c.hash != [32]byte(HashPassword(names[i])) {
				t.Errorf("the credentials of %s are those of %s", names[i], c.subdomain)
			}
		}
		if d, ok := x.details(users[i]); ok && (d.Username != users[i] || !d.Created.Equal(time.Unix(int64(i+1), 0))) {
			t.Errorf("the details of %s are %+v", names[i], d)
		}
		dst, _ = x.appendTXT(dst[:0], []byte(lowerASCII(names[i])))
		x.exists(&Account{Username: users[i], Subdomain: names[i]})
	}
}

func TestAllowListsThatNobodyHasAreForgotten(t *testing.T) {
	t.Parallel()
	x := newIndex()
	e := newEntry()
	if err := x.add(&e); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		x.setAllowFrom(e.Username, []string{fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)})
	}
	if n := len(x.allow.lists); n > 5 {
		t.Errorf("%d lists are kept for one account", n)
	}
}

// TestPlaceThatChangedHandsIsNoticed has two accounts come and go in one place,
// while others look up their credentials: between finding a place and locking
// it, another account may have come there. Of values see
// TestQueriesSeeChangesWhole.
func TestPlaceThatChangedHandsIsNoticed(t *testing.T) {
	t.Parallel()
	x := newIndex()
	var pair [2]Entry
	for i := range pair {
		for pair[i] = newEntry(); x.hash(uuid.MustParse(pair[i].Subdomain))%shardCount != 0; {
			pair[i] = newEntry()
		}
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for i := range pair {
					if c, ok := x.credentials(pair[i].Username); ok && c.subdomain != pair[i].Subdomain {
						t.Errorf("the credentials are those of another")
						return
					}
				}
			}
		})
	}
	for range 30_000 {
		for i := range pair {
			if err := x.add(&pair[i]); err != nil {
				t.Fatal(err)
			}
			x.remove(pair[i].Username)
		}
	}
	close(stop)
	readers.Wait()
}
