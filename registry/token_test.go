package registry_test

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cnamed/registry"
	"cnamed/registry/sqlite"
)

func createToken(t testing.TB, r *registry.Registry, want registry.TokenRequest) (registry.Token, string) {
	t.Helper()
	token, secret, err := r.CreateToken(context.Background(), want)
	if err != nil {
		t.Fatal(err)
	}
	return token, secret.Reveal()
}

func TestTokenIsDrawnAndKeptAsAHash(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cnamed.db")
	r := openFile(t, path, registry.Options{})
	form := regexp.MustCompile(`^[a-z2-7]{32}$`) // 160 bits
	seen := map[string]bool{}
	for range 20 {
		token, secret := createToken(t, r, registry.TokenRequest{Note: "x"})
		if !form.MatchString(secret) || seen[secret] || seen[token.ID] || strings.Contains(secret, token.ID) {
			t.Errorf("odd token %q, %q", token.ID, secret)
		}
		seen[secret], seen[token.ID] = true, true
		if id, err := r.CheckToken(secret); err != nil || id != token.ID {
			t.Errorf("check: %q, %v", id, err)
		}
		if id, err := r.CheckToken(token.ID); !errors.Is(err, registry.ErrToken) {
			t.Errorf("the ID serves as a secret: %q, %v", id, err)
		}
	}
}

func TestTokenSurvivesReopen(t *testing.T) {
	t.Parallel()
	path, clock := filepath.Join(t.TempDir(), "cnamed.db"), newClock()
	opts := registry.Options{Now: clock.Now}
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(t.Context(), store, opts)
	if err != nil {
		t.Fatal(err)
	}
	token, secret := createToken(t, r, registry.TokenRequest{Note: "lab", MaxUses: 2, Expires: clock.Now().Add(time.Hour)})
	if _, err := r.RegisterAs(t.Context(), registry.Registration{Token: token.ID}); err != nil {
		t.Fatal(err)
	}
	want := r.Tokens()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openFile(t, path, opts)
	if got := r.Tokens(); len(got) != 1 || len(want) != 1 || got[0] != want[0] || got[0].Uses != 1 || got[0].Note != "lab" {
		t.Errorf("tokens are %+v, want %+v", got, want)
	}
	if _, err := r.CheckToken(secret); err != nil {
		t.Error(err)
	}
}

func TestTokenThatIsOfNoUseRegistersNobody(t *testing.T) {
	t.Parallel()
	clock := newClock()
	r := open(t, registry.Options{Now: clock.Now})
	once, onceSecret := createToken(t, r, registry.TokenRequest{MaxUses: 1})
	brief, briefSecret := createToken(t, r, registry.TokenRequest{Expires: clock.Now().Add(time.Minute)})
	revoked, revokedSecret := createToken(t, r, registry.TokenRequest{})
	for _, id := range []string{once.ID, brief.ID, revoked.ID} {
		if _, err := r.RegisterAs(t.Context(), registry.Registration{Token: id}); err != nil {
			t.Errorf("while it is of use: %v", err)
		}
	}
	clock.Advance(time.Minute)
	if err := r.RevokeToken(t.Context(), revoked.ID); err != nil {
		t.Error(err)
	}
	for id, secret := range map[string]string{once.ID: onceSecret, brief.ID: briefSecret, revoked.ID: revokedSecret, "0000000000": ""} {
		if got, err := r.CheckToken(secret); !errors.Is(err, registry.ErrToken) {
			t.Errorf("check: %q, %v", got, err)
		}
		if _, err := r.RegisterAs(t.Context(), registry.Registration{Token: id}); !errors.Is(err, registry.ErrToken) {
			t.Errorf("register: %v", err)
		}
	}
	if r.Len() != 3 {
		t.Errorf("%d accounts, want 3", r.Len())
	}
	if err := r.RevokeToken(t.Context(), revoked.ID); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("revoking again: %v", err)
	}
}

// Registrations that share a commit must not share a use.
func TestCrowdGetsNoMoreThanTheUsesOfAToken(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	token, _ := createToken(t, r, registry.TokenRequest{MaxUses: 7})
	var good, bad atomic.Int32
	var crowd sync.WaitGroup
	for range 100 {
		crowd.Go(func() {
			switch _, err := r.RegisterAs(context.Background(), registry.Registration{Token: token.ID}); {
			case err == nil:
				good.Add(1)
			case errors.Is(err, registry.ErrToken):
				bad.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	crowd.Wait()
	if good.Load() != 7 || bad.Load() != 93 || r.Len() != 7 || r.Tokens()[0].Uses != 7 {
		t.Errorf("%d and %d, %d accounts, %d uses", good.Load(), bad.Load(), r.Len(), r.Tokens()[0].Uses)
	}
}

func TestRefusedRegistrationUsesNothing(t *testing.T) {
	t.Parallel()
	r := open(t, registry.Options{})
	token, _ := createToken(t, r, registry.TokenRequest{MaxUses: 1})
	if _, err := r.RegisterAs(t.Context(), registry.Registration{AllowFrom: []string{"here"}, Token: token.ID}); !errors.Is(err, registry.ErrAllowFrom) {
		t.Errorf("register: %v", err)
	}
	if got := r.Tokens()[0]; got.Uses != 0 || !got.LastUsed.IsZero() {
		t.Errorf("the token is %+v", got)
	}
}

func TestTokenThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	clock := newClock()
	r := open(t, registry.Options{Now: clock.Now})
	for _, want := range []registry.TokenRequest{
		{Note: "a\x1b[2Jb"}, {Note: "a\nb"}, {Note: "\xff"}, {Note: strings.Repeat("n", registry.MaxTokenNote+1)},
		{MaxUses: -1}, {Expires: clock.Now()}, {Expires: clock.Now().Add(-time.Hour)},
	} {
		if _, _, err := r.CreateToken(t.Context(), want); !errors.Is(err, registry.ErrTokenRequest) {
			t.Errorf("%+v: %v", want, err)
		}
	}
	if len(r.Tokens()) != 0 {
		t.Error("one was made")
	}
}
