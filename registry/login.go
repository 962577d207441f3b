package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// markEvery is how far behind the noted time of the last authentication may be.
// An update needs no note: the time of its value says as much.
const markEvery = time.Hour

// Login is credentials as they came with a request.
type Login struct {
	Username, Password string
	Source             netip.Addr // the client's address

	// FastOnly refuses with ErrSlow to check the password of an imported account
	// whose hash was made to take long. The caller has reason to save the work.
	FastOnly bool
}

// Access is the right to see and to change one account: that of its owner, from
// Login, or that of the operator, from AccessTo. A write with the right of an
// owner fails with ErrForbidden when the account was deleted or got another
// password since, even if that was in the same commit. It is safe for
// concurrent use.
type Access struct {
	registry  *Registry
	username  uuid.UUID
	subdomain string
	source    netip.Addr
	proof     *proof // nil: the operator's
}

// proof is what the owner showed, for comparison with what is stored later on.
type proof struct {
	sum    [sha256.Size]byte // of the password
	bcrypt []byte            // the hash that it matched, if it was an imported one
	used   uint32            // as noted at the time
}

// Login checks credentials and their source, and costs the same whether the
// username is unknown or the password wrong. Errors: ErrForbidden, ErrSlow.
func (r *Registry) Login(l Login) (*Access, error) {
	a, err := r.authenticate(l)
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// AccessTo returns the operator's access to the account with a username, or else
// with a subdomain in any case. Error: ErrNotFound.
func (r *Registry) AccessTo(name string) (*Access, error) {
	x := r.index.Load()
	username, err := uuid.Parse(name)
	d, ok := x.details(username)
	if err != nil || !ok {
		username, ok = x.owner(lowerASCII(name))
		d, _ = x.details(username)
	}
	if !ok {
		return nil, ErrNotFound
	}
	return &Access{registry: r, username: username, subdomain: d.Subdomain}, nil
}

// owner returns the username of the account with a name, which is in lower case.
func (x *index) owner(label string) (uuid.UUID, bool) {
	s, n, ok := x.find([]byte(label))
	defer s.mu.RUnlock()
	if !ok {
		return uuid.Nil, false
	}
	return s.records.at(n).user, true
}

// authenticate checks the credentials and the source.
func (r *Registry) authenticate(l Login) (Access, error) {
	username, parseErr := uuid.Parse(l.Username)
	auth, found := r.index.Load().credentials(username)
	// An unknown user costs what a wrong password costs: the same hash and the
	// same comparison, against a hash that no password has.
	if l.FastOnly && auth.bcrypt != nil {
		return Access{}, ErrSlow
	}
	ok, slow := auth.verify(l.Password)
	switch {
	case parseErr != nil, !found, !ok, !validPassword(l.Password):
		return Access{}, r.refuse(ErrForbidden)
	case !auth.allow.allows(l.Source):
		return Access{}, r.refuse(ErrForbidden)
	}
	p := &proof{sum: auth.hash, used: auth.used}
	if slow {
		p.sum, p.bcrypt = sha256.Sum256([]byte(l.Password)), auth.bcrypt
	}
	return Access{registry: r, username: username, subdomain: auth.subdomain, source: l.Source, proof: p}, nil
}

// write has a change of the account committed, together with what the access
// itself leaves: the time of it, and a fast hash in the place of a slow one.
func (a *Access) write(ctx context.Context, plan func(*batch) error) error {
	return a.registry.write(ctx, func(b *batch) error {
		if err := b.admit(a); err != nil {
			return err
		}
		b.mark(a)
		return plan(b)
	})
}

// gone is the error for an account that is not there any more.
func (a *Access) gone() error {
	if a.proof == nil {
		return ErrNotFound
	}
	return ErrForbidden
}

// fate is what a batch does to an account.
type fate uint8

const (
	deleted fate = 1 << iota
	rotated      // it has another password: earlier proofs are void
	used         // it was of use to its owner just now
)

// admit checks that an access is still good, and has the slow hash of an import
// replaced by a fast one.
func (b *batch) admit(a *Access) error {
	c, ok := b.index.credentials(a.username)
	fate := b.fates[a.username]
	switch {
	case !ok, fate&deleted != 0:
		return a.gone()
	case a.proof == nil:
		return nil
	case fate&rotated != 0, !a.proof.fits(&c):
		return ErrForbidden
	}
	if c.bcrypt != nil {
		b.add(ReplacePassword{Username: a.username, PasswordHash: a.proof.sum[:]})
	}
	return nil
}

// mark notes the time of an access by the owner.
func (b *batch) mark(a *Access) {
	if a.proof == nil {
		return
	}
	c, _ := b.index.credentials(a.username)
	if due(c.used, b.now) && b.fates[a.username]&used == 0 {
		b.add(MarkUsed{Username: a.username, Authenticated: timeOf(b.now)})
	}
	b.fates[a.username] |= used
}

// fits reports whether p proves what c asks for. The hash of an import may have
// been replaced meanwhile by the fast one of the same password.
func (p *proof) fits(c *credential) bool {
	if c.bcrypt != nil {
		return bytes.Equal(p.bcrypt, c.bcrypt)
	}
	return p.sum == c.hash
}

// due reports whether an authentication now is to be noted.
func due(noted, now uint32) bool { return now >= noted && now-noted >= uint32(markEvery/time.Second) }
