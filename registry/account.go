package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"
)

// Account is what the store keeps of an account.
type Account struct {
	Username uuid.UUID
	// PasswordHash is the SHA-256 of the password (32 bytes), or the bcrypt
	// hash ("$2…") of an account that was imported and did not log in since.
	PasswordHash []byte
	// Subdomain is as registered or imported, its case kept. It may be any
	// text that somebody once typed, not always a UUID. Two accounts never
	// have subdomains that differ in case only, since DNS could not tell them
	// apart.
	Subdomain string
	// AllowFrom is the CIDR prefixes from which updates are allowed, as they
	// were sent. Empty: any source.
	AllowFrom []string
	// Locked refuses every update. It is the state of an imported account
	// whose allow list was missing or unreadable: such a one must not become
	// open to all.
	Locked bool
	// Note is what the owner or the operator wants to remember of the account.
	Note string
	// Created is in whole seconds, and so are the times below, which are zero
	// for what never happened.
	Created time.Time
	// Updated is the time of the newest value that was ever taken away on
	// request. The newest value itself tells of later updates.
	Updated time.Time
	// Authenticated is a time at which the credentials were right, and no
	// earlier than an hour before the last, other than to set a value: the time
	// of that says it.
	Authenticated time.Time
}

// Credentials is what the holder of a new account is given, once. AllowFrom is
// never nil.
type Credentials struct {
	Username  uuid.UUID
	Password  Password
	Subdomain string
	AllowFrom []string
}

const (
	passwordBytes  = 30 // 240 bits
	passwordLength = passwordBytes * 8 / 6
)

// newCredentials draws a username, a subdomain and a password, each
// independent of the others: the public subdomain says nothing about the
// username. That is of version 7 (RFC 9562 §5.7): it begins with the time, so that
// stores, which keep accounts by username, write new ones side by side. The
// subdomain is random throughout, since it is public.
func newCredentials(allowFrom []string) (Credentials, error) {
	username, err := uuid.NewV7()
	if err != nil {
		return Credentials{}, fmt.Errorf("drawing a username: %w", err)
	}
	subdomain, err := uuid.NewRandom()
	if err != nil {
		return Credentials{}, fmt.Errorf("drawing a subdomain: %w", err)
	}
	var secret [passwordBytes]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return Credentials{}, fmt.Errorf("drawing a password: %w", err)
	}
	return Credentials{
		Username:  username,
		Password:  Password(base64.RawURLEncoding.EncodeToString(secret[:])),
		Subdomain: subdomain.String(),
		AllowFrom: allowFrom,
	}, nil
}

// Password is a password in clear. Formatting, logging and encoding it give
// "[redacted]"; Reveal gives the password.
type Password string

const redacted = "[redacted]"

// Reveal returns the password itself.
func (p Password) Reveal() string { return string(p) }

// String returns "[redacted]".
func (Password) String() string { return redacted }

// GoString returns "[redacted]".
func (Password) GoString() string { return redacted }

// LogValue returns "[redacted]".
func (Password) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", so that encoders do not leak by accident.
func (Password) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format writes "[redacted]" for every verb. String alone would leave %d.
func (Password) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// validPassword reports whether s has the form of a password: 40 characters of
// base64url.
func validPassword(s string) bool { return len(s) == passwordLength && isBase64URL(s) }

// credential is what the index knows about an account to authenticate it.
type credential struct {
	hash      [sha256.Size]byte
	bcrypt    []byte // instead of hash, for imported accounts
	subdomain string
	allow     allowList
	used      uint32 // as in record
}

// verify compares password with the stored hash. slow says that it matched a
// bcrypt hash, which the caller replaces. The work for the zero credential is
// that of a wrong password; a bcrypt hash costs more and tells that an account
// was imported, to whom knows its random username.
func (c *credential) verify(password string) (ok, slow bool) {
	if c.bcrypt != nil {
		return bcrypt.CompareHashAndPassword(c.bcrypt, []byte(password)) == nil, true
	}
	sum := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(sum[:], c.hash[:]) == 1, false
}

// validLabel reports whether s is an LDH label: 1 to 63 letters, digits and
// hyphens, with no hyphen at either end (RFC 5890 §2.3.1).
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

func isBase64URL(s string) bool {
	for i := range len(s) {
		if !base64URL[s[i]] {
			return false
		}
	}
	return true
}

// base64URL is the alphabet of RFC 4648 §5.
var base64URL = func() (set [256]bool) {
	for c := range set {
		set[c] = isAlphanumeric(byte(c)) || c == '-' || c == '_'
	}
	return set
}()

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// HashPassword returns the hash of a password that the server made, in the form
// of Account.PasswordHash. One SHA-256 is enough for 240 random bits.
func HashPassword(password string) []byte {
	sum := sha256.Sum256([]byte(password))
	return sum[:]
}
