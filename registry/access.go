package registry

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
)

// Details returns what is known of the account. It works from memory, also
// while the store takes no writes. Errors: ErrForbidden, or for an operator
// ErrNotFound; ErrStale.
func (a *Access) Details(ctx context.Context) (Details, error) {
	// Another node may have given the account another password.
	if err := a.registry.fresh(); err != nil && a.proof != nil {
		return Details{}, err
	}
	if a.leavesTrace() {
		// A store that fails is logged where it is noticed, and keeps nobody
		// from looking.
		err := a.write(ctx, func(*batch) error { return nil })
		if errors.Is(err, ErrForbidden) {
			return Details{}, err
		}
	}
	d, ok := a.registry.index.Load().details(a.username)
	if !ok {
		return Details{}, a.gone()
	}
	return d, nil
}

// leavesTrace reports whether the access alone is something to write.
func (a *Access) leavesTrace() bool {
	return a.proof != nil && (a.proof.bcrypt != nil || due(a.proof.used, unixSeconds(a.registry.opts.Now())))
}

// Changes are new settings of an account; nil leaves one as it is.
type Changes struct {
	AllowFrom *[]string // empty: any source
	Note      *string   // "" is none
	// Lockout allows an allow list without the address that it is set from.
	Lockout bool
}

// Change makes changes, all or none, and returns what is known afterwards. An
// allow list takes effect at once, and unlocks a locked account.
//
// An owner cannot set an allow list that lacks the address of the request,
// unless Lockout says that he means it: the way back would lead to the operator.
//
// Errors: ErrAllowFrom, ErrNote, ErrLockout, and those of Details and of a write.
func (a *Access) Change(ctx context.Context, c Changes) (Details, error) {
	var allowFrom []string
	if c.AllowFrom != nil {
		var err error
		if allowFrom, err = cleanAllowFrom(*c.AllowFrom); err != nil {
			return Details{}, err
		}
		list := newAllowList(&Account{AllowFrom: allowFrom})
		if a.proof != nil && !c.Lockout && !list.allows(a.source) {
			return Details{}, ErrLockout
		}
	}
	if c.Note != nil && !validNote(*c.Note) {
		return Details{}, ErrNote
	}
	err := a.write(ctx, func(b *batch) error {
		if c.AllowFrom != nil {
			b.add(SetAllowFrom{Username: a.username, AllowFrom: allowFrom})
		}
		if c.Note != nil {
			b.add(SetNote{Username: a.username, Note: *c.Note})
		}
		return nil
	})
	if err != nil {
		return Details{}, err
	}
	d, ok := a.registry.index.Load().details(a.username)
	if !ok {
		return Details{}, a.gone()
	}
	return d, nil
}

// Rotate gives the account another password, which is nowhere else. When it
// returns, the old one is void, this access with it. Of several at once with one
// password the first wins, and the others get ErrForbidden.
//
// Errors: those of Details and of a write; after the latter the password may
// have changed, and then nobody knows it but the operator can rotate again.
func (a *Access) Rotate(ctx context.Context) (Credentials, error) {
	cred, err := newCredentials(nil)
	if err != nil {
		return Credentials{}, err
	}
	cred.Username, cred.Subdomain = a.username, a.subdomain
	hash := HashPassword(cred.Password.Reveal())
	err = a.write(ctx, func(b *batch) error {
		d, ok := b.index.details(a.username)
		if !ok {
			return a.gone()
		}
		cred.AllowFrom = d.AllowFrom
		b.add(ReplacePassword{Username: a.username, PasswordHash: hash})
		b.fates[a.username] |= rotated
		return nil
	})
	if err != nil {
		return Credentials{}, err
	}
	return cred, nil
}

// Clear removes all values. The name stays, without values. Errors: those of
// Details and of a write.
func (a *Access) Clear(ctx context.Context) error {
	return a.write(ctx, func(b *batch) error {
		b.take(a.username, func(stamped) bool { return true })
		return nil
	})
}

// Drop removes one value; one that is not there is no error. Errors: ErrTXT, and
// those of Clear.
func (a *Access) Drop(ctx context.Context, txt string) error {
	if !validTXT(txt) {
		return ErrTXT
	}
	value := toTXT(txt)
	return a.write(ctx, func(b *batch) error {
		b.take(a.username, func(s stamped) bool { return s.value == value })
		return nil
	})
}

// Delete removes the account. When it returns, that is durable, and the name
// does not exist in DNS. A name that was chosen is not given again: somebody's
// CNAME record may still lead to it, and who got the name would get his
// certificates. Names that were drawn cannot be chosen in any case. Errors:
// those of Details and of a write.
func (a *Access) Delete(ctx context.Context) error {
	return a.write(ctx, func(b *batch) error {
		b.remove(a.username, a.subdomain)
		return nil
	})
}

// take removes the values of an account that match.
func (b *batch) take(username uuid.UUID, match func(stamped) bool) {
	list, _ := b.list(username)
	var latest uint32
	for i := range list {
		latest = max(latest, list[i].at)
		if match(list[i]) {
			b.add(DropValue{Username: username, Value: list[i].Value()})
		}
	}
	kept := slices.DeleteFunc(slices.Clone(list), match)
	if len(kept) == len(list) {
		return
	}
	b.values[username] = kept
	// After them: while they are there, they tell it.
	b.add(MarkUsed{Username: username, Updated: timeOf(latest)})
}

// remove deletes an account.
func (b *batch) remove(username uuid.UUID, subdomain string) {
	b.add(DeleteAccount{Username: username})
	if lower := lowerASCII(subdomain); !isDrawn(lower) {
		b.add(RetireName{Name: lower})
	}
	b.fates[username] |= deleted
}
