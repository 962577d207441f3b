package storetest

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"time"

	"cnamed/registry"
)

func token(id string) registry.Token {
	return registry.Token{ID: id, Hash: sha256.Sum256([]byte(id)), Created: moment}
}

func use(id string) registry.UseToken { return registry.UseToken{ID: id, At: moment.Add(time.Minute)} }

// wantTokens compares all that the store keeps of tokens.
func (h *harness) wantTokens(want ...registry.Token) {
	h.Helper()
	got := h.load().Tokens
	slices.SortFunc(got, func(a, b registry.Token) int { return cmp.Compare(a.ID, b.ID) })
	same := func(a, b registry.Token) bool {
		return a.ID == b.ID && a.Hash == b.Hash && a.Note == b.Note && a.MaxUses == b.MaxUses && a.Uses == b.Uses &&
			a.Created.Equal(b.Created) && a.Expires.Equal(b.Expires) && a.LastUsed.Equal(b.LastUsed)
	}
	if !slices.EqualFunc(got, want, same) {
		h.Errorf("tokens are\n%+v, want\n%+v", got, want)
	}
}

func tokenSurvivesReopen(h *harness) {
	plain, limited := token("a"), token("b")
	limited.Note, limited.MaxUses, limited.Expires = "for 'Ada' — lab", 3, moment.Add(time.Hour)
	before := h.load().Serial
	h.commit(registry.CreateToken{Token: plain}, registry.CreateToken{Token: limited})
	h.reopen()
	h.wantTokens(plain, limited)
	h.commit(registry.RevokeToken{ID: "a"}, registry.RevokeToken{ID: "never"})
	h.reopen()
	h.wantTokens(limited)
	if got := h.load().Serial; got != before {
		h.Errorf("the serial rose from %d to %d", before, got)
	}
}

func sameTokenIsRefused(h *harness) {
	a, sameHash := token("a"), token("b")
	sameHash.Hash = a.Hash
	h.commit(registry.CreateToken{Token: a})
	h.wantRefused(0, registry.ErrExists, registry.CreateToken{Token: a})
	h.wantRefused(0, registry.ErrExists, registry.CreateToken{Token: sameHash})
}

func usesAreCounted(h *harness) {
	a := token("a")
	h.commit(registry.CreateToken{Token: a}, registry.CreateAccount{Account: account()}, use("a"))
	h.commit(registry.CreateAccount{Account: account()}, use("a"), registry.CreateAccount{Account: account()}, use("a"))
	h.reopen()
	a.Uses, a.LastUsed = 3, use("a").At
	h.wantTokens(a)
}

// spentTokenRefusesTheAccount is what keeps two nodes from giving one use away
// twice: the store has the last word, and the account goes with the use.
func spentTokenRefusesTheAccount(h *harness) {
	a := token("a")
	a.MaxUses = 1
	h.commit(registry.CreateToken{Token: a}, registry.CreateAccount{Account: account()}, use("a"))
	h.wantRefused(1, registry.ErrNotFound, registry.CreateAccount{Account: account()}, use("a"))
	h.wantRefused(1, registry.ErrNotFound, registry.CreateAccount{Account: account()}, use("never"))
	h.commit(registry.RevokeToken{ID: "a"})
	h.wantRefused(1, registry.ErrNotFound, registry.CreateAccount{Account: account()}, use("a"))
	if n := len(h.load().entries); n != 1 {
		h.Errorf("%d accounts, want 1", n)
	}
}
