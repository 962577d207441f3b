package registry

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Details is all that is known of an account but its password.
type Details struct {
	Username  uuid.UUID
	Subdomain string
	AllowFrom []string // never nil
	Locked    bool     // as in Account
	Note      string
	Created   time.Time
	// Updated is when a value was last set; zero: never.
	Updated time.Time
	// Authenticated is when the credentials were last right, to the hour; zero:
	// never.
	Authenticated time.Time
	Values        []Value // the newest first, never nil
}

// Used is when the account was last of use: updated, authenticated or made.
func (d *Details) Used() time.Time {
	used := d.Created
	for _, t := range []time.Time{d.Updated, d.Authenticated} {
		if t.After(used) {
			used = t
		}
	}
	return used
}

// MaxNote is how many characters a note can have.
const MaxNote = 128

// validNote reports whether s can be a note: one line of text.
func validNote(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= MaxNote &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// details returns what is known of an account, all of one moment.
func (x *index) details(username uuid.UUID) (d Details, ok bool) {
	s, n, ok := x.account(username, forReading)
	if !ok {
		return Details{}, false
	}
	defer s.mu.RUnlock()
	return x.detailsAt(s, n), true
}

// detailsAt is details of record n of s, which the caller has locked.
func (x *index) detailsAt(s *nameShard, n uint32) Details {
	rec := s.records.at(n)
	list := s.values(n)
	d := Details{
		Username:      rec.user,
		Subdomain:     s.subdomain(n),
		AllowFrom:     x.allow.entries(rec.allow),
		Locked:        rec.allow == allowNone,
		Note:          s.notes[n],
		Created:       timeOf(rec.born),
		Updated:       timeOf(s.lastUpdate(n)),
		Authenticated: timeOf(s.authenticated(n)),
		Values:        make([]Value, len(list)),
	}
	for i := range list {
		d.Values[i] = list[i].Value()
	}
	return d
}

// lastUpdate is when a value of an account was last set, in unix seconds; 0 is
// never. The newest value need not have the latest time: clocks go back.
func (s *nameShard) lastUpdate(n uint32) uint32 {
	rec := s.records.at(n)
	at := s.updated[n]
	for i := range rec.face.count() {
		at = max(at, rec.at[i])
	}
	return at
}

// authenticated is when the credentials of an account were last right, in unix
// seconds; 0 is never. Only with them a value is set, here or on the server that it
// was imported from.
func (s *nameShard) authenticated(n uint32) uint32 { return max(s.records.at(n).used, s.lastUpdate(n)) }

// lastUse is when an account was last of use, in unix seconds.
func (s *nameShard) lastUse(n uint32) uint32 { return max(s.records.at(n).born, s.authenticated(n)) }

// setAllowFrom replaces an allow list.
func (x *index) setAllowFrom(username uuid.UUID, allowFrom []string) {
	number := x.allow.intern(&Account{AllowFrom: allowFrom})
	before := number
	x.change(username, func(s *nameShard, n uint32) {
		rec := s.records.at(n)
		before, rec.allow = rec.allow, number
	})
	x.allow.release(before)
	x.locked.Add(lockedIf(number) - lockedIf(before))
}

func lockedIf(number uint32) int64 {
	if number == allowNone {
		return 1
	}
	return 0
}

// setNote stores a note; "" is none.
func (s *nameShard) setNote(n uint32, note string) {
	if note == "" {
		delete(s.notes, n)
		return
	}
	put(&s.notes, n, note)
}

// setUpdated moves the time of the last update forward. It takes no place where
// a value shows it.
func (s *nameShard) setUpdated(n, at uint32) {
	if at > s.lastUpdate(n) {
		put(&s.updated, n, at)
	}
}

// timeOf is the opposite of unixSeconds; 0 becomes the zero time.
func timeOf(seconds uint32) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0)
}
