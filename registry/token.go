package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

var (
	// ErrToken reports a registration token that is none, was revoked, has
	// expired or was used as often as it may be. It does not say which.
	ErrToken = errors.New("the registration token is not valid")
	// ErrTokenRequest reports a wish for a token that makes no sense.
	ErrTokenRequest = errors.New("such a token cannot be made")
)

// Token is what the store keeps of a registration token: a permission to
// register that an operator hands out. Times are in whole seconds.
type Token struct {
	// ID names the token where it is no secret: in lists and in logs. It is the
	// beginning of Hash in hexadecimal.
	ID       string
	Hash     [sha256.Size]byte // of the secret
	Note     string
	Created  time.Time
	Expires  time.Time // zero: never
	MaxUses  int       // 0: any number
	Uses     int
	LastUsed time.Time // zero: never
}

// Usable reports whether the token allows one more registration at now.
func (t *Token) Usable(now time.Time) bool { return !t.Expired(now) && !t.UsedUp() }

// Expired reports whether the time of the token is over at now.
func (t *Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// UsedUp reports whether the token was used as often as it may be.
func (t *Token) UsedUp() bool { return t.MaxUses > 0 && t.Uses >= t.MaxUses }

// TokenRequest says what token is wanted. The zero value asks for one without
// limits.
type TokenRequest struct {
	Note    string    // at most MaxTokenNote bytes of printable text
	MaxUses int       // registrations that it allows. 0: any number
	Expires time.Time // must be to come. zero: never
}

const (
	// MaxTokenNote bounds the note of a token, in bytes.
	MaxTokenNote = 200

	tokenBytes    = 20 // 160 bits
	tokenIDDigits = 10
)

// tokenText is made of characters that need no quotes in a URL, in a shell or
// in a header, and of one case only.
var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func validTokenNote(s string) bool {
	return len(s) <= MaxTokenNote && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}

// CreateToken makes a registration token. Its secret is returned once and kept
// nowhere: the store has a hash of it, and one SHA-256 is enough for 160 random
// bits. Errors: ErrTokenRequest, and those of a write.
func (r *Registry) CreateToken(ctx context.Context, want TokenRequest) (Token, Password, error) {
	now := r.opts.Now()
	switch {
	case !validTokenNote(want.Note):
		return Token{}, "", fmt.Errorf("%w: the note is not printable text of up to %d bytes", ErrTokenRequest, MaxTokenNote)
	case want.MaxUses < 0:
		return Token{}, "", fmt.Errorf("%w: %d uses", ErrTokenRequest, want.MaxUses)
	case !want.Expires.IsZero() && !want.Expires.After(now):
		return Token{}, "", fmt.Errorf("%w: it would have expired already", ErrTokenRequest)
	}
	var random [tokenBytes]byte
	if _, err := rand.Read(random[:]); err != nil {
		return Token{}, "", fmt.Errorf("drawing a token: %w", err)
	}
	secret := tokenText.EncodeToString(random[:])
	token := Token{
		Hash:    sha256.Sum256([]byte(secret)),
		Note:    want.Note,
		Created: now.Truncate(time.Second),
		MaxUses: want.MaxUses,
	}
	token.ID = hex.EncodeToString(token.Hash[:])[:tokenIDDigits]
	if !want.Expires.IsZero() {
		token.Expires = want.Expires.Truncate(time.Second)
	}
	err := r.write(ctx, func(b *batch) error {
		b.add(CreateToken{token})
		return nil
	})
	if err != nil {
		return Token{}, "", err
	}
	return token, Password(secret), nil
}

// RevokeToken removes a token; the accounts that were registered with it stay.
// When it returns nil, no registration with the token begins any more. Errors:
// ErrNotFound, and those of a write.
func (r *Registry) RevokeToken(ctx context.Context, id string) error {
	return r.write(ctx, func(b *batch) error {
		if _, ok := b.index.tokens.get(id); !ok {
			return fmt.Errorf("token %q: %w", id, ErrNotFound)
		}
		b.add(RevokeToken{ID: id})
		return nil
	})
}

// Tokens returns all tokens, those that are of no use any more too, the oldest
// first.
func (r *Registry) Tokens() []Token {
	list := r.index.Load().tokens.all()
	slices.SortFunc(list, func(a, b Token) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// CheckToken returns the ID of the token with that secret, or ErrToken if it is
// of no use now. It uses nothing up.
func (r *Registry) CheckToken(secret string) (id string, err error) {
	// The table is searched by hash: how long that takes tells nothing about a
	// secret that is nearly right.
	t, ok := r.index.Load().tokens.find(sha256.Sum256([]byte(secret)))
	if !ok || !t.Usable(r.opts.Now()) {
		return "", r.refuse(ErrToken)
	}
	return t.ID, nil
}

// useToken counts one use.
func (b *batch) useToken(id string) error {
	t, ok := b.index.tokens.get(id)
	t.Uses += b.uses[id]
	now := time.Unix(int64(b.now), 0)
	if !ok || !t.Usable(now) {
		return ErrToken
	}
	put(&b.uses, id, b.uses[id]+1)
	b.add(UseToken{ID: id, At: now})
	return nil
}

// tokenTable is the tokens in memory. It is safe for concurrent use.
type tokenTable struct {
	mu     sync.RWMutex
	byID   map[string]Token
	byHash map[[sha256.Size]byte]string
}

func (t *tokenTable) get(id string) (Token, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	token, ok := t.byID[id]
	return token, ok
}

func (t *tokenTable) find(hash [sha256.Size]byte) (Token, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	token, ok := t.byID[t.byHash[hash]]
	return token, ok
}

func (t *tokenTable) all() []Token {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Values(t.byID))
}

func (t *tokenTable) add(token Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	put(&t.byID, token.ID, token)
	put(&t.byHash, token.Hash, token.ID)
}

func (t *tokenTable) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byHash, t.byID[id].Hash)
	delete(t.byID, id)
}

func (t *tokenTable) use(id string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if token, ok := t.byID[id]; ok {
		token.Uses++
		token.LastUsed = at
		t.byID[id] = token
	}
}
