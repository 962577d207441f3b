package registry

import (
	"bytes"
	"slices"
)

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
