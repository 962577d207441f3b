package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"

	"cnamed/registry"
	"cnamed/registry/sqlite"
)

// clock is a time that stands still until it is advanced.
type clock struct{ unix atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.unix.Store(1_800_000_000)
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(c.unix.Load(), 0) }
func (c *clock) Advance(d time.Duration) { c.unix.Add(int64(d / time.Second)) }

func openFile(t testing.TB, path string, opts registry.Options) *registry.Registry {
	t.Helper()
	store, err := sqlite.Open(context.Background(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(context.Background(), store, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return r
}

func open(t testing.TB, opts registry.Options) *registry.Registry {
	t.Helper()
	return openFile(t, filepath.Join(t.TempDir(), "cnamed.db"), opts)
}

func register(t testing.TB, r *registry.Registry, allowFrom ...string) registry.Credentials {
	t.Helper()
	c, err := r.Register(context.Background(), allowFrom)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// updateOf is a right update of c's account.
func updateOf(c registry.Credentials, txt string) registry.Update {
	return registry.Update{
		Username: c.Username.String(), Password: c.Password.Reveal(), Subdomain: c.Subdomain, TXT: txt,
	}
}

func update(t testing.TB, r *registry.Registry, c registry.Credentials, txt string) {
	t.Helper()
	if err := r.Update(context.Background(), updateOf(c, txt)); err != nil {
		t.Fatal(err)
	}
}

func value(i int) string { return fmt.Sprintf("%043d", i) }

func values(is ...int) (texts []string) {
	for _, i := range is {
		texts = append(texts, value(i))
	}
	return texts
}

func wantServed(t testing.TB, r *registry.Registry, label string, want ...string) {
	t.Helper()
	got, exists, err := registry.Served(r, label)
	if err != nil || !exists || !slices.Equal(got, want) {
		t.Errorf("served %q, %v, %v; want %q", got, exists, err, want)
	}
}

func TestRegisterDrawsIndependentCredentials(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	password := regexp.MustCompile(`^[A-Za-z0-9_-]{40}$`)
	seen := make(map[string]bool)
	for range 50 {
		c := register(t, r)
		sub, err := uuid.Parse(c.Subdomain)
		if err != nil || sub.Version() != 4 || c.Username.Version() != 7 || !password.MatchString(c.Password.Reveal()) {
			t.Errorf("odd credentials: %v %q, %v", c.Username, c.Subdomain, err)
		}
		for _, s := range []string{c.Username.String(), c.Subdomain, c.Password.Reveal()} {
			if seen[s] {
				t.Errorf("%q was drawn twice", s)
			}
			seen[s] = true
		}
		if c.AllowFrom == nil {
			t.Error("AllowFrom is nil")
		}
		wantServed(t, r, c.Subdomain)
	}
	if r.Len() != 50 {
		t.Errorf("Len is %d", r.Len())
	}
}

func TestPasswordIsRedacted(t *testing.T) {
	t.Parallel()
	c := registry.Credentials{Password: "secret-secret"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "password", c.Password, "all", c)
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(encoded)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, c.Password), fmt.Sprintf(verb, c))
	}
	for _, s := range texts {
		if strings.Contains(s, "secret") || strings.Contains(s, fmt.Sprintf("%x", "secret")) {
			t.Errorf("leaked: %s", s)
		}
	}
}

func TestUpdateAnswersErrorsInOrder(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	c, other := register(t, r, "192.0.2.0/24"), register(t, r)
	good := updateOf(c, value(1))
	good.Source = netip.MustParseAddr("192.0.2.7")
	for name, test := range map[string]struct {
		change func(*registry.Update)
		want   error
	}{
		"good":                   {func(*registry.Update) {}, nil},
		"upper case":             {func(u *registry.Update) { u.Username = strings.ToUpper(u.Username) }, nil},
		"braces":                 {func(u *registry.Update) { u.Username = "{" + u.Username + "}" }, nil},
		"urn":                    {func(u *registry.Update) { u.Username = "urn:uuid:" + u.Username }, nil},
		"no dashes":              {func(u *registry.Update) { u.Username = strings.ReplaceAll(u.Username, "-", "") }, nil},
		"mapped source":          {func(u *registry.Update) { u.Source = netip.MustParseAddr("::ffff:192.0.2.7") }, nil},
		"no username":            {func(u *registry.Update) { u.Username = "" }, registry.ErrForbidden},
		"nil username":           {func(u *registry.Update) { u.Username = uuid.Nil.String() }, registry.ErrForbidden},
		"another's username":     {func(u *registry.Update) { u.Username = other.Username.String() }, registry.ErrForbidden},
		"no password":            {func(u *registry.Update) { u.Password = "" }, registry.ErrForbidden},
		"another's password":     {func(u *registry.Update) { u.Password = other.Password.Reveal() }, registry.ErrForbidden},
		"longer password":        {func(u *registry.Update) { u.Password += "A" }, registry.ErrForbidden},
		"another source":         {func(u *registry.Update) { u.Source = netip.MustParseAddr("192.0.3.7") }, registry.ErrForbidden},
		"no source":              {func(u *registry.Update) { u.Source = netip.Addr{} }, registry.ErrForbidden},
		"another's subdomain":    {func(u *registry.Update) { u.Subdomain = other.Subdomain }, registry.ErrForbidden},
		"subdomain upper case":   {func(u *registry.Update) { u.Subdomain = strings.ToUpper(u.Subdomain) }, registry.ErrForbidden},
		"full domain":            {func(u *registry.Update) { u.Subdomain += ".auth.example.org" }, registry.ErrForbidden},
		"forbidden before txt":   {func(u *registry.Update) { u.Password, u.TXT = "", "" }, registry.ErrForbidden},
		"forbidden before label": {func(u *registry.Update) { u.Password, u.Subdomain = "", "-" }, registry.ErrForbidden},
		"no txt":                 {func(u *registry.Update) { u.TXT = "" }, registry.ErrTXT},
		"short txt":              {func(u *registry.Update) { u.TXT = u.TXT[1:] }, registry.ErrTXT},
		"long txt":               {func(u *registry.Update) { u.TXT += "A" }, registry.ErrTXT},
		"txt with plus":          {func(u *registry.Update) { u.TXT = u.TXT[1:] + "+" }, registry.ErrTXT},
	} {
		u := good
		test.change(&u)
		if err := r.Update(t.Context(), u); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	wantServed(t, r, c.Subdomain, value(1))
	wantServed(t, r, other.Subdomain)
}

func TestAllowFromIsKeptAsSent(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	c := register(t, r, "192.0.2.77/24", "[2001:db8::1]/64")
	if want := []string{"192.0.2.77/24", "2001:db8::1/64"}; !slices.Equal(c.AllowFrom, want) {
		t.Errorf("allow list %q, want %q", c.AllowFrom, want)
	}
	for source, want := range map[string]error{
		"192.0.2.1": nil, "2001:db8::ffff": nil, "fe80::1%eth0": registry.ErrForbidden,
		"2001:db8::7%zone": nil, "2001:db8:1::": registry.ErrForbidden, "198.51.100.1": registry.ErrForbidden,
	} {
		u := updateOf(c, value(1))
		u.Source = netip.MustParseAddr(source)
		if err := r.Update(t.Context(), u); !errors.Is(err, want) {
			t.Errorf("from %s: %v, want %v", source, err, want)
		}
	}
	for _, bad := range []string{"", "192.0.2.1", "::1", "192.0.2.0/33", "example.org/24", "1.2.3.4/24,5.6.7.8/24"} {
		if _, err := r.Register(t.Context(), []string{"192.0.2.0/24", bad}); !errors.Is(err, registry.ErrAllowFrom) {
			t.Errorf("entry %q: %v", bad, err)
		}
	}
	if r.Len() != 1 {
		t.Errorf("Len is %d", r.Len())
	}
}

func TestNewestTwoAlwaysStay(t *testing.T) {
	t.Parallel()
	clock := newClock()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{Now: clock.Now})
	c := register(t, r)
	for i := range 4 {
		update(t, r, c, value(i))
	}
	wantServed(t, r, c.Subdomain, values(3, 2, 1, 0)...)
	update(t, r, c, value(1)) // the newest again, once
	wantServed(t, r, c.Subdomain, values(1, 3, 2, 0)...)
	clock.Advance(-time.Hour) // the clock does not order values
	update(t, r, c, value(9))
	wantServed(t, r, c.Subdomain, values(9, 1, 3, 2, 0)...)
	clock.Advance(1000 * time.Hour)
	update(t, r, c, value(5))
	wantServed(t, r, c.Subdomain, values(5, 9)...)
	clock.Advance(1000 * time.Hour)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openFile(t, path, registry.Options{Now: clock.Now})
	wantServed(t, r, c.Subdomain, values(5, 9)...)
}

func TestValuesAreBounded(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{MaxValues: 5})
	c := register(t, r)
	for i := range 20 {
		update(t, r, c, value(i))
	}
	wantServed(t, r, c.Subdomain, values(19, 18, 17, 16, 15)...)
}

func TestConcurrentUpdatesBothStay(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	for round := range 100 {
		c := register(t, r)
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() { update(t, r, c, value(2*round+i)) })
		}
		wg.Wait()
		got, _, _ := registry.Served(r, c.Subdomain)
		slices.Sort(got)
		if want := values(2*round, 2*round+1); !slices.Equal(got, want) {
			t.Fatalf("served %q, want %q", got, want)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const accounts, workers = 10_000, 64
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{})
	creds := make([]registry.Credentials, accounts)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < accounts; i = int(next.Add(1)) - 1 {
				before := r.Serial()
				creds[i] = register(t, r)
				update(t, r, creds[i], value(i))
				if got, _, _ := registry.Served(r, creds[i].Subdomain); !slices.Equal(got, values(i)) {
					t.Errorf("served %q right after the update", got)
				}
				if int32(r.Serial()-before) <= 0 {
					t.Error("the serial did not rise")
				}
			}
		})
	}
	wg.Wait()
	serial := r.Serial()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openFile(t, path, registry.Options{})
	if r.Len() != accounts || r.Serial() != serial {
		t.Errorf("after a reopen: %d accounts, serial %d, want %d", r.Len(), r.Serial(), serial)
	}
	for i, c := range creds {
		wantServed(t, r, c.Subdomain, value(i))
	}
	update(t, r, creds[0], value(accounts)) // credentials survive as well
}

func TestChallengesSurviveReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{})
	wantServed(t, r, registry.OwnLabel)
	if err := r.SetChallenges(t.Context(), values(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	if err := r.SetChallenges(t.Context(), []string{"x"}); !errors.Is(err, registry.ErrTXT) {
		t.Errorf("a bad value: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openFile(t, path, registry.Options{})
	wantServed(t, r, registry.OwnLabel, values(1, 2, 3)...)
	if err := r.SetChallenges(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantServed(t, r, registry.OwnLabel)
}

// imported commits accounts to a fresh file, as an import does.
func imported(t *testing.T, accounts ...registry.Account) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "cnamed.db")
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var batch []registry.Mutation
	for _, a := range accounts {
		batch = append(batch, registry.CreateAccount{Account: a})
	}
	_, err = store.Commit(t.Context(), batch)
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBcryptIsReplacedAtFirstSuccess(t *testing.T) {
	t.Parallel()
	c := registry.Credentials{Username: uuid.New(), Password: registry.Password(strings.Repeat("p", 40)), Subdomain: "by-Hand"}
	hash, err := bcrypt.GenerateFromPassword([]byte(c.Password.Reveal()), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	path := imported(t, registry.Account{Username: c.Username, PasswordHash: hash, Subdomain: c.Subdomain})
	r := openFile(t, path, registry.Options{})
	wrong := updateOf(c, value(1))
	wrong.Password = strings.Repeat("q", 40)
	if err := r.Update(t.Context(), wrong); !errors.Is(err, registry.ErrForbidden) {
		t.Errorf("wrong password: %v", err)
	}
	if got := storedHash(t, r, path, c.Username); string(got) != string(hash) {
		t.Errorf("a failure replaced the hash: %q", got)
	}
	r = openFile(t, path, registry.Options{})
	update(t, r, c, value(1))
	update(t, r, c, value(2)) // by the new hash
	if got := storedHash(t, r, path, c.Username); len(got) != 32 {
		t.Errorf("the hash is %q", got)
	}
	r = openFile(t, path, registry.Options{})
	update(t, r, c, value(3))
	wantServed(t, r, "by-hand", values(3, 2, 1)...)
}

// The form of a password is checked for imported accounts as well.
func TestOddPasswordOfAnImportedAccountIsRefused(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("short"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	c := registry.Credentials{Username: uuid.New(), Password: "short", Subdomain: "x"}
	r := openFile(t, imported(t, registry.Account{Username: c.Username, PasswordHash: hash, Subdomain: "x"}), registry.Options{})
	if err := r.Update(t.Context(), updateOf(c, value(1))); !errors.Is(err, registry.ErrForbidden) {
		t.Errorf("update: %v", err)
	}
}

// One account in 65,536 has such a hash, and could not log in.
func TestHashThatLooksLikeBcryptVerifies(t *testing.T) {
	t.Parallel()
	var password string
	for i := 0; ; i++ {
		password = fmt.Sprintf("%040d", i)
		if strings.HasPrefix(string(registry.HashPassword(password)), "$2") {
			break
		}
	}
	c := registry.Credentials{Username: uuid.New(), Password: registry.Password(password), Subdomain: uuid.NewString()}
	path := imported(t, registry.Account{
		Username: c.Username, PasswordHash: registry.HashPassword(password), Subdomain: c.Subdomain,
	})
	r := openFile(t, path, registry.Options{})
	update(t, r, c, value(1))
	wantServed(t, r, c.Subdomain, value(1))
}

func TestFastOnlyChecksNoSlowPassword(t *testing.T) {
	t.Parallel()
	slow := registry.Credentials{Username: uuid.New(), Password: registry.Password(strings.Repeat("p", 40)), Subdomain: uuid.NewString()}
	hash, err := bcrypt.GenerateFromPassword([]byte(slow.Password.Reveal()), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	r := openFile(t, imported(t, registry.Account{Username: slow.Username, PasswordHash: hash, Subdomain: slow.Subdomain}), registry.Options{})
	fast := register(t, r)
	for _, test := range []struct {
		c    registry.Credentials
		want error
	}{{slow, registry.ErrSlow}, {fast, nil}} {
		u := updateOf(test.c, value(1))
		u.FastOnly = true
		if err := r.Update(t.Context(), u); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("update: %v, want %v", err, test.want)
		}
	}
	update(t, r, slow, value(1)) // which replaces the hash
	u := updateOf(slow, value(2))
	u.FastOnly = true
	if err := r.Update(t.Context(), u); err != nil {
		t.Errorf("after the first login: %v", err)
	}
}

// storedHash closes r and reads the hash from its file.
func storedHash(t *testing.T, r *registry.Registry, path string, username uuid.UUID) (hash []byte) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Load(t.Context(), func(e *registry.Entry) error {
		if e.Username == username {
			hash = slices.Clone(e.PasswordHash)
		}
		return nil
	})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestImportedAccounts(t *testing.T) {
	t.Parallel()
	hash := registry.HashPassword(strings.Repeat("p", 40))
	account := func(subdomain string) registry.Account {
		return registry.Account{Username: uuid.New(), PasswordHash: hash, Subdomain: subdomain}
	}
	locked, garbage := account("locked"), account("garbage")
	locked.Locked = true
	garbage.AllowFrom = []string{"192.0.2.0/24", "nonsense"}
	upper := uuid.New()
	for _, test := range []struct {
		account registry.Account
		label   string
		want    error
	}{
		{locked, "locked", registry.ErrForbidden},
		{garbage, "garbage", registry.ErrForbidden},
		{account("Typed"), "typed", nil},
		{account(strings.ToUpper(upper.String())), upper.String(), nil},
		{account("under_score"), "under_score", registry.ErrSubdomain},
		{account("two.labels"), "two.labels", registry.ErrSubdomain},
		{account("-hyphen"), "-hyphen", registry.ErrSubdomain},
		{account(strings.Repeat("x", 64)), strings.Repeat("x", 64), registry.ErrSubdomain},
		{account(strings.Repeat("x", 63)), strings.Repeat("x", 63), nil},
	} {
		r := openFile(t, imported(t, test.account), registry.Options{})
		wantServed(t, r, test.label)
		err := r.Update(t.Context(), registry.Update{
			Username: test.account.Username.String(), Password: strings.Repeat("p", 40),
			Source: netip.MustParseAddr("192.0.2.1"), Subdomain: test.account.Subdomain, TXT: value(1),
		})
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v, want %v", test.account.Subdomain, err, test.want)
		}
	}
}

func TestUnknownNamesDoNotExist(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	c := register(t, r)
	for _, label := range []string{"", "x", uuid.NewString(), "{" + c.Subdomain[:34] + "}", c.Username.String(),
		strings.ReplaceAll(c.Subdomain, "-", ""), c.Subdomain + "."} {
		if got, exists, err := r.AppendTXT([]byte("kept"), []byte(label)); exists || err != nil || string(got) != "kept" {
			t.Errorf("%q: %q, %v, %v", label, got, exists, err)
		}
	}
}

func TestSerialMovesWithTheRecordsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{})
	set := func(auth, static string) (serial, ofStatic uint32) {
		t.Helper()
		serials, err := r.SetRecords(t.Context(), map[string]string{"auth.example.org.": auth, "static.test.": static})
		if err != nil {
			t.Fatal(err)
		}
		return r.Serial(), serials["static.test."]
	}
	first, static := set("one", "a")
	if static != first {
		t.Errorf("the serial is %d, that of a new zone %d", first, static)
	}
	if again, _ := set("one", "a"); again != first {
		t.Errorf("the same records moved the serial from %d to %d", first, again)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openFile(t, path, registry.Options{})
	if again, ofStatic := set("one", "a"); again != first || ofStatic != static {
		t.Errorf("a restart moved the serials from %d, %d to %d, %d", first, static, again, ofStatic)
	}
	if other, ofStatic := set("two", "a"); other != first+1 || ofStatic != static {
		t.Errorf("other records moved the serials from %d, %d to %d, %d", first, static, other, ofStatic)
	}
	update(t, r, register(t, r), value(1))
	before := r.Serial()
	if _, ofStatic := set("two", "b"); ofStatic != before+1 {
		t.Errorf("other static records have the serial %d, after %d of the registry", ofStatic, before)
	}
}

func TestAllowListIsBounded(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	if _, err := r.Register(t.Context(), slices.Repeat([]string{"192.0.2.0/24"}, 64)); err != nil {
		t.Error(err)
	}
	if _, err := r.Register(t.Context(), slices.Repeat([]string{"192.0.2.0/24"}, 65)); !errors.Is(err, registry.ErrAllowFrom) {
		t.Errorf("65 entries: %v", err)
	}
}
