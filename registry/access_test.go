package registry_test

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"

	"cnamed/registry"
	"cnamed/registry/sqlite"
)

var home = netip.MustParseAddr("192.0.2.7")

func loginOf(c registry.Credentials) registry.Login {
	return registry.Login{Username: c.Username.String(), Password: c.Password.Reveal(), Source: home}
}

func login(t testing.TB, r *registry.Registry, c registry.Credentials) *registry.Access {
	t.Helper()
	a, err := r.Login(loginOf(c))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func details(t testing.TB, a *registry.Access) registry.Details {
	t.Helper()
	d, err := a.Details(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func wantGone(t testing.TB, r *registry.Registry, label string) {
	t.Helper()
	if got, exists, err := registry.Served(r, label); exists || len(got) > 0 || err != nil {
		t.Errorf("%s is there: %q, %v, %v", label, got, exists, err)
	}
}

func TestLoginTakesWhatUpdateTakes(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	c, other := register(t, r, "192.0.2.0/24"), register(t, r)
	good := loginOf(c)
	for name, test := range map[string]struct {
		change func(*registry.Login)
		want   error
	}{
		"good":               {func(*registry.Login) {}, nil},
		"upper case":         {func(l *registry.Login) { l.Username = strings.ToUpper(l.Username) }, nil},
		"unknown username":   {func(l *registry.Login) { l.Username = uuid.NewString() }, registry.ErrForbidden},
		"no username":        {func(l *registry.Login) { l.Username = "" }, registry.ErrForbidden},
		"the subdomain":      {func(l *registry.Login) { l.Username = c.Subdomain }, registry.ErrForbidden},
		"no password":        {func(l *registry.Login) { l.Password = "" }, registry.ErrForbidden},
		"another's password": {func(l *registry.Login) { l.Password = other.Password.Reveal() }, registry.ErrForbidden},
		"another source":     {func(l *registry.Login) { l.Source = netip.MustParseAddr("192.0.3.7") }, registry.ErrForbidden},
		"no source":          {func(l *registry.Login) { l.Source = netip.Addr{} }, registry.ErrForbidden},
	} {
		l := good
		test.change(&l)
		a, err := r.Login(l)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) || (a == nil) != (err != nil) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestDetailsTellTheLifeOfAnAccount(t *testing.T) {
	t.Parallel()
	clock := newClock()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{Now: clock.Now})
	born := clock.Now()
	c, err := r.RegisterAs(t.Context(), registry.Registration{AllowFrom: []string{"[::1]/64", "192.0.2.9/24"}, Note: "web-1, Ö"})
	if err != nil {
		t.Fatal(err)
	}
	want := registry.Details{
		Username: c.Username, Subdomain: c.Subdomain, AllowFrom: []string{"::1/64", "192.0.2.9/24"},
		Note: "web-1, Ö", Created: born, Values: []registry.Value{},
	}
	op, err := r.AccessTo(c.Subdomain)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, a *registry.Access) {
		t.Helper()
		got := details(t, a)
		if got.Username != want.Username || got.Subdomain != want.Subdomain || got.Note != want.Note ||
			got.Locked || !slices.Equal(got.AllowFrom, want.AllowFrom) || !slices.Equal(got.Values, want.Values) ||
			!got.Created.Equal(want.Created) || !got.Updated.Equal(want.Updated) || !got.Authenticated.Equal(want.Authenticated) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", when, got, want)
		}
	}
	check("at first, to an operator, who leaves no trace", op)

	clock.Advance(time.Minute)
	want.Authenticated = clock.Now()
	check("to the owner, who does", login(t, r, c))

	clock.Advance(59 * time.Minute)
	u := updateOf(c, value(1))
	u.Source = home
	if err := r.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	want.Updated, want.Authenticated = clock.Now(), clock.Now()
	want.Values = []registry.Value{{TXT: value(1), At: clock.Now()}}
	check("updated within an hour", op)

	clock.Advance(time.Minute)
	u.TXT = value(2)
	if err := r.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	want.Updated, want.Authenticated = clock.Now(), clock.Now()
	want.Values = slices.Insert(want.Values, 0, registry.Value{TXT: value(2), At: clock.Now()})
	check("updated an hour later", op)

	clock.Advance(time.Minute)
	if err := login(t, r, c).Drop(t.Context(), value(2)); err != nil {
		t.Fatal(err)
	}
	want.Values = want.Values[1:]
	check("with the newest value dropped", op)
	if err := op.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	want.Values = []registry.Value{}
	check("cleared", op)

	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openFile(t, path, registry.Options{Now: clock.Now})
	if op, err = r.AccessTo(c.Username.String()); err != nil {
		t.Fatal(err)
	}
	check("after a restart", op)
}

func TestLookingWorksWithoutTheStore(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	c := register(t, r)
	a := login(t, r, c)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if d := details(t, a); d.Subdomain != c.Subdomain {
		t.Errorf("details are %+v", d)
	}
	if _, err := a.Rotate(t.Context()); !errors.Is(err, registry.ErrStore) {
		t.Errorf("a write without a store: %v", err)
	}
}

func TestChangeOfAllowFromDoesNotLockOut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{})
	c := register(t, r)
	a := login(t, r, c)
	for _, test := range []struct {
		allow []string
		force bool
		want  error
	}{
		{[]string{"198.51.100.0/24"}, false, registry.ErrLockout},
		{[]string{"192.0.2.7"}, true, registry.ErrAllowFrom},
		{[]string{"198.51.100.0/24", "[::ffff:192.0.2.0]/120"}, false, nil},
		{[]string{}, false, nil},
		{[]string{"198.51.100.0/24"}, true, nil},
	} {
		d, err := a.Change(t.Context(), registry.Changes{AllowFrom: &test.allow, Lockout: test.force})
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%q: %v, want %v", test.allow, err, test.want)
		}
		if err == nil && len(d.AllowFrom) != len(test.allow) {
			t.Errorf("%q: the list is %q", test.allow, d.AllowFrom)
		}
	}
	if _, err := r.Login(loginOf(c)); !errors.Is(err, registry.ErrForbidden) {
		t.Errorf("login from an address that is not allowed any more: %v", err)
	}
	// The operator is the way back, and lets nobody's address stop him.
	op, err := r.AccessTo(c.Subdomain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := op.Change(t.Context(), registry.Changes{AllowFrom: &[]string{"192.0.2.0/24"}}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	login(t, openFile(t, path, registry.Options{}), c)
}

func TestChangeIsAllOrNothing(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	c := register(t, r)
	a := login(t, r, c)
	note, long, allow := "mine", strings.Repeat("ö", registry.MaxNote+1), []string{"192.0.2.0/24"}
	for _, bad := range []string{long, "two\nlines", "nul\x00", "bad \xff", "\u202eback"} {
		if _, err := a.Change(t.Context(), registry.Changes{AllowFrom: &allow, Note: &bad}); !errors.Is(err, registry.ErrNote) {
			t.Errorf("the note %q: %v", bad, err)
		}
		if _, err := r.RegisterAs(t.Context(), registry.Registration{Note: bad}); !errors.Is(err, registry.ErrNote) {
			t.Errorf("registering with the note %q: %v", bad, err)
		}
	}
	if d := details(t, a); len(d.AllowFrom) != 0 || d.Note != "" {
		t.Errorf("a refused change left %+v", d)
	}
	long = strings.TrimSuffix(long, "ö")
	for _, good := range []string{note, long, ""} {
		d, err := a.Change(t.Context(), registry.Changes{AllowFrom: &allow, Note: &good})
		if err != nil || d.Note != good || len(d.AllowFrom) != 1 {
			t.Errorf("the note %q: %+v, %v", good, d, err)
		}
	}
}

func TestRotationVoidsTheOldPassword(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{})
	c := register(t, r, "192.0.2.0/24")
	before := login(t, r, c)
	fresh, err := login(t, r, c).Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Username != c.Username || fresh.Subdomain != c.Subdomain || fresh.Password == c.Password ||
		!slices.Equal(fresh.AllowFrom, c.AllowFrom) {
		t.Errorf("rotated to %+v", fresh)
	}
	check := func() {
		t.Helper()
		if _, err := r.Login(loginOf(c)); !errors.Is(err, registry.ErrForbidden) {
			t.Errorf("login with the old password: %v", err)
		}
		login(t, r, fresh)
	}
	check()
	// Nor does what was authenticated with the old one before go on.
	for name, err := range map[string]error{
		"drop": before.Drop(t.Context(), value(1)), "clear": before.Clear(t.Context()), "delete": before.Delete(t.Context()),
	} {
		if !errors.Is(err, registry.ErrForbidden) {
			t.Errorf("%s with the old password: %v", name, err)
		}
	}
	if _, err := before.Rotate(t.Context()); !errors.Is(err, registry.ErrForbidden) {
		t.Errorf("rotating with the old password: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openFile(t, path, registry.Options{})
	check()
}

// TestOfManyRotationsOneWins: the passwords that were given out are good, but
// for those that a later rotation voided, which needs the one before.
func TestOfManyRotationsOneWins(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	c := register(t, r)
	var mu sync.Mutex
	var won []registry.Credentials
	var owners [50]*registry.Access
	for i := range owners {
		owners[i] = login(t, r, c)
	}
	var group sync.WaitGroup
	for _, a := range owners {
		group.Go(func() {
			fresh, err := a.Rotate(context.Background())
			if err != nil {
				if !errors.Is(err, registry.ErrForbidden) {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			won = append(won, fresh)
		})
	}
	group.Wait()
	if len(won) != 1 {
		t.Fatalf("%d rotations won", len(won))
	}
	login(t, r, won[0])
}

func TestImportedPasswordIsReplacedByAnyAccess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	password := strings.Repeat("p", 40)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	a := registry.Account{Username: uuid.New(), PasswordHash: hash, Subdomain: "typed"}
	if _, err := store.Commit(t.Context(), []registry.Mutation{registry.CreateAccount{Account: a}}); err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(t.Context(), store, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := registry.Credentials{Username: a.Username, Password: registry.Password(password), Subdomain: a.Subdomain}
	// Two that logged in before the first of them wrote are both good.
	first, second := login(t, r, c), login(t, r, c)
	details(t, first)
	if err := second.Clear(t.Context()); err != nil {
		t.Error(err)
	}
	var kept []byte
	_, err = store.Load(t.Context(), func(e *registry.Entry) error {
		kept = slices.Clone(e.PasswordHash)
		return nil
	})
	if err != nil || !slices.Equal(kept, registry.HashPassword(password)) {
		t.Errorf("the hash is %q, %v", kept, err)
	}
	login(t, r, c)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestClearLeavesTheName(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	c, other := register(t, r), register(t, r)
	for i := range 5 {
		update(t, r, c, value(i))
		update(t, r, other, value(i))
	}
	a := login(t, r, c)
	for _, txt := range []string{value(3), value(3), value(99)} {
		if err := a.Drop(t.Context(), txt); err != nil {
			t.Fatal(err)
		}
		wantServed(t, r, c.Subdomain, values(4, 2, 1, 0)...)
	}
	if err := a.Drop(t.Context(), "short"); !errors.Is(err, registry.ErrTXT) {
		t.Errorf("dropping no value: %v", err)
	}
	serial := r.Serial()
	if err := a.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantServed(t, r, c.Subdomain)
	wantServed(t, r, other.Subdomain, values(4, 3, 2, 1, 0)...)
	if r.Serial() == serial {
		t.Error("the serial stayed")
	}
	update(t, r, c, value(7))
	wantServed(t, r, c.Subdomain, value(7))
}

func TestDeletedAccountIsGoneAtOnceAndForGood(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{})
	c, other := register(t, r), register(t, r)
	update(t, r, c, value(1))
	update(t, r, other, value(2))
	a, late := login(t, r, c), login(t, r, c)
	op, err := r.AccessTo(c.Subdomain)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		wantGone(t, r, c.Subdomain)
		wantServed(t, r, other.Subdomain, value(2))
		if r.Len() != 1 {
			t.Errorf("%d accounts", r.Len())
		}
		if _, err := r.Login(loginOf(c)); !errors.Is(err, registry.ErrForbidden) {
			t.Errorf("login to a deleted account: %v", err)
		}
		if _, err := r.AccessTo(c.Subdomain); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("access to a deleted account: %v", err)
		}
	}
	check()
	if err := late.Clear(t.Context()); !errors.Is(err, registry.ErrForbidden) {
		t.Errorf("an owner who was logged in: %v", err)
	}
	if _, err := late.Details(t.Context()); !errors.Is(err, registry.ErrForbidden) {
		t.Errorf("an owner who was logged in, and looks: %v", err)
	}
	if err := op.Delete(t.Context()); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("deleting again: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openFile(t, path, registry.Options{})
	check()
}

func TestChosenNames(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{})
	take := func(name string) (registry.Credentials, error) {
		return r.RegisterAs(t.Context(), registry.Registration{Subdomain: name})
	}
	for name, want := range map[string]error{
		"-x": registry.ErrSubdomain, "a.b": registry.ErrSubdomain, registry.OwnLabel: registry.ErrSubdomain,
		strings.Repeat("a", 64): registry.ErrSubdomain, "ä": registry.ErrSubdomain,
		uuid.NewString(): registry.ErrReserved, strings.ToUpper(uuid.NewString()): registry.ErrReserved,
	} {
		if _, err := take(name); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
	c, err := take("WWW-Example-com")
	if err != nil || c.Subdomain != "www-example-com" {
		t.Fatalf("%q, %v", c.Subdomain, err)
	}
	update(t, r, c, value(1))
	wantServed(t, r, "www-example-com", value(1))
	if _, err := take("www-EXAMPLE-com"); !errors.Is(err, registry.ErrExists) {
		t.Errorf("a taken name: %v", err)
	}

	// A CNAME record may still lead to the name of a deleted account.
	if err := login(t, r, c).Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantGone(t, r, "www-example-com")
	for range 2 {
		if _, err := take("Www-Example-com"); !errors.Is(err, registry.ErrExists) {
			t.Errorf("the name of a deleted account: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r = openFile(t, path, registry.Options{})
	}
	if err := r.ReleaseName(t.Context(), "WWW-example-com"); err != nil {
		t.Error(err)
	}
	if err := r.ReleaseName(t.Context(), "www-example-com"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("releasing again: %v", err)
	}
	if _, err := take("www-example-com"); err != nil {
		t.Errorf("a released name: %v", err)
	}
}

func TestOfManyWhoWantANameOneGetsIt(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	var got, refused sync.Map
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			c, err := r.RegisterAs(context.Background(), registry.Registration{Subdomain: "popular"})
			switch {
			case err == nil:
				got.Store(i, c)
			case errors.Is(err, registry.ErrExists):
				refused.Store(i, err)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	winners := 0
	got.Range(func(_, _ any) bool { winners++; return true })
	if winners != 1 || r.Len() != 1 {
		t.Errorf("%d got the name, there are %d accounts", winners, r.Len())
	}
}

func list(t testing.TB, r *registry.Registry, limit int, f registry.Filter) (all []registry.Details) {
	t.Helper()
	var at registry.Cursor
	for {
		page, next := r.List(at, limit, f)
		if len(page) > limit {
			t.Fatalf("a page of %d, asked for %d", len(page), limit)
		}
		all = append(all, page...)
		if next == 0 {
			return all
		}
		if next <= at {
			t.Fatalf("after %d comes %d", at, next)
		}
		at = next
	}
}

func TestListHasEveryAccountOnce(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	all := map[uuid.UUID]bool{}
	var creds []registry.Credentials
	for range 300 {
		c := register(t, r)
		all[c.Username] = true
		creds = append(creds, c)
	}
	for _, limit := range []int{1, 7, 1000} {
		seen := map[uuid.UUID]bool{}
		for _, d := range list(t, r, limit, registry.Filter{}) {
			if seen[d.Username] || !all[d.Username] {
				t.Fatalf("%s is there twice, or not known", d.Username)
			}
			seen[d.Username] = true
		}
		if len(seen) != len(all) {
			t.Errorf("pages of %d have %d accounts, want %d", limit, len(seen), len(all))
		}
	}
	for _, c := range creds[:100] {
		if err := login(t, r, c).Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(list(t, r, 50, registry.Filter{})); n != 200 {
		t.Errorf("%d are listed after the deletions, want 200", n)
	}
	if page, next := r.List(1<<40, 5, registry.Filter{}); len(page) > 0 || next != 0 {
		t.Errorf("beyond the end there are %d, and %d follows", len(page), next)
	}
}

func TestSearchFindsEveryPart(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	register(t, r)
	c, err := r.RegisterAs(t.Context(), registry.Registration{
		Subdomain: "web-shop", Note: "Team Ödland", AllowFrom: []string{"192.0.2.0/24", "2001:DB8::/32"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"b-sh", "WEB-SHOP", "team öd", "192.0.2.", "2001:db8", c.Username.String()[3:20], strings.ToUpper(c.Username.String())} {
		if got := list(t, r, 10, registry.Filter{Match: part}); len(got) != 1 || got[0].Username != c.Username {
			t.Errorf("%q finds %+v", part, got)
		}
	}
	if got := list(t, r, 10, registry.Filter{Match: "absent"}); len(got) != 0 {
		t.Errorf("found %+v", got)
	}
}

func TestPruneSparesWhatWasOfUse(t *testing.T) {
	t.Parallel()
	clock := newClock()
	r := open(t, registry.Options{Now: clock.Now})
	idle, updated, looked, cleared := register(t, r), register(t, r), register(t, r), register(t, r)
	chosen, err := r.RegisterAs(t.Context(), registry.Registration{Subdomain: "chosen"})
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(24 * time.Hour)
	update(t, r, updated, value(1))
	update(t, r, cleared, value(1))
	details(t, login(t, r, looked))
	if err := login(t, r, cleared).Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	young := register(t, r)
	before := clock.Now()

	unused := list(t, r, 10, registry.Filter{UnusedSince: before})
	var found []string
	for _, d := range unused {
		found = append(found, d.Subdomain)
	}
	want := []string{idle.Subdomain, chosen.Subdomain}
	slices.Sort(found)
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Errorf("unused are %q, want %q", found, want)
	}
	var all []uuid.UUID
	for _, c := range []registry.Credentials{idle, updated, looked, cleared, chosen, young} {
		all = append(all, c.Username)
	}
	pruned, err := r.Prune(t.Context(), append(all, uuid.New()), before)
	if err != nil || !slices.Equal(pruned, []uuid.UUID{idle.Username, chosen.Username}) {
		t.Errorf("%v were pruned, %v", pruned, err)
	}
	wantGone(t, r, idle.Subdomain)
	wantGone(t, r, "chosen")
	if r.Len() != 4 {
		t.Errorf("%d are left", r.Len())
	}
	if _, err := r.RegisterAs(t.Context(), registry.Registration{Subdomain: "chosen"}); !errors.Is(err, registry.ErrExists) {
		t.Errorf("the name of a pruned account: %v", err)
	}
}

func TestAccessToNamesAnAccountInEveryForm(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	c := register(t, r)
	for _, name := range []string{c.Subdomain, strings.ToUpper(c.Subdomain), c.Username.String(), "{" + c.Username.String() + "}"} {
		if a, err := r.AccessTo(name); err != nil || details(t, a).Username != c.Username {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "x", uuid.NewString(), uuid.Nil.String(), registry.OwnLabel} {
		if _, err := r.AccessTo(name); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
