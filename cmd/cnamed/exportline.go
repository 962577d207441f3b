package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

// An export is lines of JSON: a header, the registration tokens, the names that
// are not given again, the accounts in the order of their usernames, and a last
// line by which one that was cut short is known.
const (
	exportFormat  = "cnamed-export"
	exportVersion = 1
	// maxExportLine bounds a line, with the end of it. An account with 64 prefixes
	// and 128 values takes 15 KB.
	maxExportLine = 1 << 20
)

// exportHeader is the first line.
type exportHeader struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Domain  string    `json:"domain,omitempty"` // of the zone, if the command knew it
	Made    time.Time `json:"made"`
	Serial  uint64    `json:"serial"` // of the zone
}

// exportLine is each other line: one of these.
type exportLine struct {
	Token   *exportToken   `json:"token,omitempty"`
	Retired string         `json:"retired,omitempty"`
	Account *exportAccount `json:"account,omitempty"`
	End     *exportEnd     `json:"end,omitempty"`
}

type exportToken struct {
	ID       string    `json:"id"`
	SHA256   string    `json:"sha256"` // of the secret
	Note     string    `json:"note,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
	MaxUses  int       `json:"max_uses,omitempty"`
	Uses     int       `json:"uses"`
	LastUsed time.Time `json:"last_used,omitzero"`
}

type exportAccount struct {
	Username      uuid.UUID     `json:"username"`
	Subdomain     string        `json:"subdomain"`
	PasswordHash  string        `json:"password_hash"` // sha256: and hexadecimal digits, or bcrypt: $2…
	AllowFrom     []string      `json:"allowfrom,omitempty"`
	Locked        bool          `json:"locked,omitempty"`
	Note          string        `json:"note,omitempty"`
	Created       time.Time     `json:"created"`
	Updated       time.Time     `json:"updated,omitzero"`
	Authenticated time.Time     `json:"authenticated,omitzero"`
	Values        []exportValue `json:"values,omitempty"` // the oldest first
}

type exportValue struct {
	TXT string    `json:"txt"`
	Set time.Time `json:"set"`
}

// exportEnd is the last line: how many lines of each kind there are.
type exportEnd struct {
	Tokens   int `json:"tokens"`
	Retired  int `json:"retired"`
	Accounts int `json:"accounts"`
}

func newExportToken(t *registry.Token) *exportToken {
	return &exportToken{t.ID, hex.EncodeToString(t.Hash[:]), t.Note, t.Created.UTC(), utc(t.Expires), t.MaxUses, t.Uses, utc(t.LastUsed)}
}

func (t *exportToken) token() (registry.Token, error) {
	token := registry.Token{ID: t.ID, Note: t.Note, Created: t.Created, Expires: t.Expires,
		MaxUses: t.MaxUses, Uses: t.Uses, LastUsed: t.LastUsed}
	hash, err := decodeSHA256(t.SHA256)
	if err != nil {
		return token, err
	}
	copy(token.Hash[:], hash)
	return token, token.Check()
}

const (
	hashSHA256 = "sha256:"
	hashBcrypt = "bcrypt:"
)

// set makes a the line of e, of which it keeps no part. Values keep their memory.
func (a *exportAccount) set(e *registry.Entry) {
	values := a.Values[:0]
	for _, v := range e.Values {
		values = append(values, exportValue{v.TXT, v.At.UTC()})
	}
	*a = exportAccount{
		Username: e.Username, Subdomain: e.Subdomain, AllowFrom: e.AllowFrom, Locked: e.Locked, Note: e.Note,
		Created: e.Created.UTC(), Updated: utc(e.Updated), Authenticated: utc(e.Authenticated), Values: values,
	}
	if strings.HasPrefix(string(e.PasswordHash), "$") && len(e.PasswordHash) != 32 {
		a.PasswordHash = hashBcrypt + string(e.PasswordHash)
	} else {
		a.PasswordHash = hashSHA256 + hex.EncodeToString(e.PasswordHash)
	}
}

func (a *exportAccount) entry() (*registry.Entry, error) {
	e := &registry.Entry{Account: registry.Account{
		Username: a.Username, Subdomain: a.Subdomain, AllowFrom: a.AllowFrom, Locked: a.Locked, Note: a.Note,
		Created: a.Created, Updated: a.Updated, Authenticated: a.Authenticated,
	}}
	if bcrypt, ok := strings.CutPrefix(a.PasswordHash, hashBcrypt); ok {
		e.PasswordHash = []byte(bcrypt)
	} else {
		digits, ok := strings.CutPrefix(a.PasswordHash, hashSHA256)
		if !ok {
			return nil, fmt.Errorf("password_hash begins with neither %s nor %s", hashSHA256, hashBcrypt)
		}
		var err error
		if e.PasswordHash, err = decodeSHA256(digits); err != nil {
			return nil, err
		}
	}
	for _, v := range a.Values {
		e.Values = append(e.Values, registry.Value{TXT: v.TXT, At: v.Set})
	}
	return e, e.Check()
}

func decodeSHA256(digits string) ([]byte, error) {
	hash, err := hex.DecodeString(digits)
	if err == nil && len(hash) != 32 {
		err = fmt.Errorf("a SHA-256 has 64 hexadecimal digits, and not %d", len(digits))
	}
	return hash, err
}

// utc leaves a time that never was as it is.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}
