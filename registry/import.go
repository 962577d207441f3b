package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"
)

// Import is what a store is to take in. The zero value is nothing.
type Import struct {
	// Entries are accounts with their values. In the order of their usernames
	// they are the fastest to take in.
	Entries iter.Seq2[*Entry, error]
	// Taken is called with an entry whose username or subdomain is taken, be it
	// by an entry before it, and with what is stored: the account of that
	// username, or else that of the subdomain. The entry is not added. Both are
	// valid during the call only. A name that is retired counts as taken too, and
	// then nothing is stored: nil.
	Taken func(entry, stored *Entry) error
	// Tokens are added unless there is one with the ID or the hash.
	Tokens []Token
	// TokenTaken is called with each of Tokens that is not added. nil: nobody
	// wants to know.
	TokenTaken func(Token)
	// Retired are names that are not given again from now on; they do not stand
	// in the way of Entries.
	Retired []string
	// Serial is one that the zone had elsewhere. That of the store is higher
	// afterwards, whatever was added: who has seen the zone there finds it
	// newer here. 0: the zone is seen for the first time.
	Serial uint64
}

// Exporter shows all that a store holds, of one moment: the state first, and then
// each account in the order of usernames, with its values. The Entry and what it
// holds are valid only during the call. An error of begin or each ends Export and
// is returned. It disturbs nobody who writes meanwhile.
type Exporter interface {
	Export(ctx context.Context, begin func(State) error, each func(*Entry) error) error
}

// NextSerial is the serial after an import, from the one before and whether an
// account was added.
func (i *Import) NextSerial(serial uint64, added bool) uint64 {
	if added {
		serial++
	}
	if i.Serial > 0 {
		serial = max(serial, i.Serial+1)
	}
	return serial
}

// Difference names what a stored account has different from the one that an
// import brings.
type Difference string

// The differences of accounts.
const (
	DifferentUsername  Difference = "username" // of another account with this subdomain
	DifferentSubdomain Difference = "subdomain"
	DifferentPassword  Difference = "password"
	DifferentAllowFrom Difference = "allowfrom"
	DifferentValues    Difference = "values"
)

// Differences compares an entry of an import with the stored one in its place.
// A password hash that was replaced by the fast form, at the first login since
// an earlier import, is no difference: it is of the same password, and nobody
// can compare the two.
func Differences(entry, stored *Entry) (all []Difference) {
	if entry.Username != stored.Username {
		return []Difference{DifferentUsername}
	}
	if entry.Subdomain != stored.Subdomain {
		all = append(all, DifferentSubdomain)
	}
	replaced := isBcrypt(entry.PasswordHash) && !isBcrypt(stored.PasswordHash)
	if !replaced && !bytes.Equal(entry.PasswordHash, stored.PasswordHash) {
		all = append(all, DifferentPassword)
	}
	if entry.Locked != stored.Locked || !slices.Equal(entry.AllowFrom, stored.AllowFrom) {
		all = append(all, DifferentAllowFrom)
	}
	sameText := func(a, b Value) bool { return a.TXT == b.TXT }
	if !slices.EqualFunc(entry.Values, stored.Values, sameText) {
		all = append(all, DifferentValues)
	}
	return all
}

// Valid reports whether v can be the value of a name: 43 characters of
// base64url, as a client must send it.
func (v Value) Valid() bool { return validTXT(v.TXT) }

// Reachable reports whether the subdomain of a is a host name label. An account
// with another one can neither update nor be asked for.
func (a *Account) Reachable() bool { return validLabel(a.Subdomain) }

// Check returns an error for an entry that a registry could not load. Who takes
// entries from where anybody could have written them asks before Import. The
// subdomain and the address list may be any text, as those of another server.
func (e *Entry) Check() error {
	switch {
	case len(e.PasswordHash) != sha256.Size && !isBcrypt(e.PasswordHash):
		return errors.New("the password hash is neither SHA-256 nor bcrypt")
	case !validNote(e.Note):
		return ErrNote
	}
	for _, t := range []time.Time{e.Created, e.Updated, e.Authenticated} {
		if !t.IsZero() && !storable(t) {
			return fmt.Errorf("the time %s is out of range", t)
		}
	}
	seen := make(map[string]bool, len(e.Values))
	for _, v := range e.Values {
		switch {
		case !v.Valid():
			return ErrTXT
		case !storable(v.At):
			return fmt.Errorf("the time %s of a value is out of range", v.At)
		case seen[v.TXT]:
			return errors.New("a value is there twice")
		}
		seen[v.TXT] = true
	}
	return nil
}

// storable reports whether the index has room for a time.
func storable(t time.Time) bool { return t.Unix() >= 0 && t.Unix() <= math.MaxUint32 }

// Check is Entry.Check for a token.
func (t *Token) Check() error {
	switch {
	case t.ID != hex.EncodeToString(t.Hash[:])[:tokenIDDigits]:
		return errors.New("the ID is not the beginning of the hash")
	case !validTokenNote(t.Note):
		return fmt.Errorf("the note is not printable text of up to %d bytes", MaxTokenNote)
	case t.MaxUses < 0 || t.Uses < 0:
		return errors.New("the number of uses is negative")
	}
	return nil
}
