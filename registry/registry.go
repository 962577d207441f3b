// Package registry keeps the accounts of the server, their credentials and
// their TXT values, and the rules about them. It knows no transport.
//
// Truth is a [Store]. What is asked for often, the values by DNS name and the
// credentials by username, is answered from an index in memory that holds
// committed state only: a value is in the answers after it is durable, never
// before. A name that does not exist never reaches the store.
//
// The rules of values: the newest two of a name always stay, because a name
// and its wildcard are validated at one DNS name. Newest is by arrival, never
// by clock. Older ones stay for a retention time, up to a bound, so that one
// delegation can serve an order of many names.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// OwnLabel is the label below the origin at which the challenges of the
// server's own certificate are served. It always exists.
const OwnLabel = "_acme-challenge"

var (
	// ErrForbidden is every failure to authenticate or to be entitled: a
	// username that is none or unknown, a wrong password, a source address
	// that is not allowed, a subdomain that is not the account's own. It does
	// not say which.
	ErrForbidden = errors.New("forbidden")
	// ErrSubdomain reports a subdomain that is no LDH label of 1 to 63 octets.
	ErrSubdomain = errors.New("the subdomain is not a host name label")
	// ErrTXT reports a value that is not 43 characters of base64url, the form
	// of a dns-01 key authorization digest (RFC 8555 §8.4).
	ErrTXT = errors.New("the value is not 43 characters of base64url")
	// ErrAllowFrom reports an entry of an allow list that is no CIDR prefix.
	ErrAllowFrom = errors.New("the entry is not a CIDR prefix")
	// ErrSlow reports that a login that asked for FastOnly could not be judged.
	ErrSlow = errors.New("the password takes long to check")
	// ErrNote reports a note that is longer than MaxNote, or not one line of text.
	ErrNote = errors.New("the note is not one line of at most 128 characters")
	// ErrReserved reports a name that cannot be chosen.
	ErrReserved = errors.New("the name cannot be chosen")
	// ErrLockout reports an allow list that lacks the address of who sets it.
	ErrLockout = errors.New("the allow list lacks the address that the request came from")
	// ErrOverloaded reports that too many writes wait already. The write was
	// not taken; it is safe to repeat it a second later.
	ErrOverloaded = errors.New("too many writes are waiting")
	// ErrClosed reports a write after Close. It wraps ErrStore.
	ErrClosed = fmt.Errorf("%w: the registry is closed", ErrStore)
)

// Defaults of [Options].
const (
	DefaultRetention = time.Hour
	DefaultMaxValues = 128
)

// Options of a Registry. The zero value is ready to use.
type Options struct {
	// Retention is how long a value that is not among the newest two of its
	// name stays. 0: DefaultRetention.
	Retention time.Duration
	// MaxValues bounds the values of one name, the newest two included.
	// 0: DefaultMaxValues. Less than two is taken as two.
	MaxValues int
	// Journal bounds, in names, what Changes remembers; each takes some 300 bytes.
	// 0: nothing is remembered.
	Journal int
	// Now is the clock of retention and of the pauses between attempts to
	// recover. nil: time.Now.
	Now func() time.Time
	// Log is told when the store fails and when it is well again. nil: discard.
	Log *slog.Logger
}

// Registry is the accounts and values of one server. It is safe for
// concurrent use.
type Registry struct {
	store  Store
	shared Shared // the store, if it is one
	opts   Options
	log    *slog.Logger

	index    atomic.Pointer[index]             // replaced as a whole when the store was
	applying sync.Mutex                        // who changes the index of a shared store
	records  atomic.Pointer[map[string]string] // what SetRecords noted here; nil: not yet
	queue    queue
	state    storeState // touched by the committer of the queue alone

	health health
	wake   chan struct{} // tells Serve that the store began to fail
	closed sync.Once
}

// Open loads the whole index from store and takes the store over: Close of the
// Registry closes it. If Open fails the store stays open and the caller's.
func Open(ctx context.Context, store Store, opts Options) (*Registry, error) {
	if opts.Retention <= 0 {
		opts.Retention = DefaultRetention
	}
	if opts.MaxValues == 0 {
		opts.MaxValues = DefaultMaxValues
	}
	opts.MaxValues = max(opts.MaxValues, alwaysKept)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registry{store: store, opts: opts, log: opts.Log, wake: make(chan struct{}, 1)}
	r.shared, _ = store.(Shared)
	r.queue.commit = r.commit
	r.health.turn = make(chan struct{}, 1)
	if err := r.load(ctx); err != nil {
		return nil, fmt.Errorf("loading the registry: %w", err)
	}
	return r, nil
}

// load builds an index from the store and puts it in the place of the old one
// at once. Only Open and the committer of the queue call it. Nothing is applied
// meanwhile: the new index must not know less than the old one did.
func (r *Registry) load(ctx context.Context) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	x := newIndex()
	state, err := r.store.Load(ctx, x.add)
	if err != nil {
		return err
	}
	for _, name := range state.Retired {
		put(&x.retired, lowerASCII(name), struct{}{})
	}
	x.own.Store(&state.Challenges)
	x.records.Store(&state.Records)
	for _, t := range state.Tokens {
		x.tokens.add(t)
	}
	x.serial.Store(state.Serial)
	x.seq.Store(state.Seq)
	x.journal.keep = r.opts.Journal
	if old := r.index.Swap(x); old != nil {
		old.journal.mu.Lock()
		old.journal.wake()
		old.journal.mu.Unlock()
	}
	if n := x.locked.Load(); n > 0 {
		r.log.Warn("accounts without a usable allow list are locked", "accounts", n)
	}
	r.warnOfRecords()
	return nil
}

// Register makes an account and returns its credentials, which are nowhere
// else: the store keeps a hash of the password. allowFrom restricts the
// addresses that may update; empty allows any. When Register returns, the
// account is durable, it can update, and its name exists in DNS.
//
// Errors: ErrAllowFrom, ErrOverloaded, ErrStore, or the context's; after the
// latter the account may exist, but nobody knows its password.
func (r *Registry) Register(ctx context.Context, allowFrom []string) (Credentials, error) {
	return r.RegisterAs(ctx, Registration{AllowFrom: allowFrom})
}

// Registration is what belongs to a new account.
type Registration struct {
	AllowFrom []string
	// Subdomain is the name to have, in lower case from then on. Empty: one is
	// drawn.
	Subdomain string
	Note      string // see Details
	// Token is the ID of the registration token by whose right the account is
	// made. Empty: no token is needed.
	Token string
}

// RegisterAs is Register with more to say. A token loses one use in the
// transaction that makes the account: there is never an account without its use,
// nor a use without its account. Further errors: ErrToken; ErrNote; ErrSubdomain;
// ErrReserved for a name in the form of those that are drawn; ErrExists for one
// that an account has, or had.
func (r *Registry) RegisterAs(ctx context.Context, g Registration) (Credentials, error) {
	allowFrom, err := cleanAllowFrom(g.AllowFrom)
	if err != nil {
		return Credentials{}, err
	}
	if !validNote(g.Note) {
		return Credentials{}, ErrNote
	}
	cred, err := newCredentials(allowFrom)
	if err != nil {
		return Credentials{}, err
	}
	if g.Subdomain != "" {
		if cred.Subdomain, err = chosenName(g.Subdomain); err != nil {
			return Credentials{}, err
		}
	}
	account := Account{
		Username:     cred.Username,
		PasswordHash: HashPassword(cred.Password.Reveal()),
		Subdomain:    cred.Subdomain,
		AllowFrom:    allowFrom,
		Note:         g.Note,
		Created:      r.opts.Now().Truncate(time.Second),
	}
	err = r.write(ctx, func(b *batch) error {
		if g.Subdomain != "" && b.isGiven(account.Subdomain) {
			return ErrExists
		}
		if err := b.create(account); err != nil {
			return err
		}
		if g.Token != "" {
			if err := b.useToken(g.Token); err != nil {
				return err
			}
		}
		if g.Subdomain != "" { // last, when nothing can refuse it any more
			put(&b.chosen, account.Subdomain, struct{}{})
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) { // revoked since it was checked
		err = ErrToken
	}
	if err != nil {
		return Credentials{}, err
	}
	return cred, nil
}

// Update is a request to set one TXT value, with the credentials that came
// with it. Its fields are as received.
type Update struct {
	Username, Password string
	Source             netip.Addr // the client's address
	Subdomain, TXT     string

	FastOnly bool // as in Login
}

func (u *Update) login() Login {
	return Login{Username: u.Username, Password: u.Password, Source: u.Source, FastOnly: u.FastOnly}
}

// Update checks the credentials and sets a value. It returns nil only when the
// value is durable and AppendTXT serves it from now on.
//
// Errors, in the order of the checks: ErrSlow, ErrForbidden, ErrSubdomain, ErrTXT,
// ErrOverloaded, ErrStore or the context's. After an error that wraps ErrStore
// or the context's the value may become durable all the same; to repeat the
// update is safe.
func (r *Registry) Update(ctx context.Context, u Update) error {
	a, err := r.authenticate(u.login())
	switch {
	case err != nil:
		return err
	case a.subdomain != u.Subdomain:
		return ErrForbidden
	case !validLabel(u.Subdomain):
		return ErrSubdomain
	case !validTXT(u.TXT):
		return ErrTXT
	}
	value := toTXT(u.TXT)
	return r.write(ctx, func(b *batch) error {
		if err := b.admit(&a); err != nil {
			return err
		}
		return b.put(a.username, value)
	})
}

// SetChallenges replaces the values of the server's own challenge, OwnLabel.
// They survive a restart; nil clears them. Errors: ErrTXT, and those of a write.
func (r *Registry) SetChallenges(ctx context.Context, values []string) error {
	for _, v := range values {
		if !validTXT(v) {
			return ErrTXT
		}
	}
	values = slices.Clone(values)
	return r.write(ctx, func(b *batch) error {
		b.add(SetChallenges{Values: values})
		return nil
	})
}

// AppendTXT appends the values at label, newest first, each behind its length in
// two octets, the more significant first, and says whether the label exists;
// one that exists may have no values. The label is lower-case and one label. err is not nil when the registry cannot tell (a shared store
// that was cut off); it is always nil for a store of one server. AppendTXT
// never waits for the store, and allocates nothing but room for dst.
func (r *Registry) AppendTXT(dst, label []byte) (values []byte, exists bool, err error) {
	if err := r.fresh(); err != nil {
		return dst, false, err
	}
	x := r.index.Load()
	if string(label) == OwnLabel {
		return appendOwn(dst, *x.own.Load()), true, nil
	}
	values, exists = x.appendTXT(dst, label)
	return values, exists, nil
}

// Serial is the serial of the zone for its SOA record. It moves with every
// change of values or names, by RFC 1982 always forward, and survives
// restarts. It is counted by the store, in the transaction that makes the change:
// all who share a store have one serial for one content. A change is in AppendTXT's answers before Serial shows it.
func (r *Registry) Serial() uint32 { return uint32(r.index.Load().serial.Load()) }

// Len returns the number of accounts.
func (r *Registry) Len() int { return int(r.index.Load().size.Load()) }

// Close waits for the writes under way, refuses those that wait and all later
// ones with ErrClosed, and closes the store. AppendTXT goes on answering from
// memory.
func (r *Registry) Close() error {
	err := error(nil)
	r.closed.Do(func() {
		r.queue.close()
		err = r.store.Close()
	})
	return err
}
