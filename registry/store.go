package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

var (
	// ErrStore is wrapped by every error of a store: what was asked for did
	// not become durable, or nobody knows whether it did.
	ErrStore = errors.New("store")
	// ErrMalformed reports that Load brought what was never written. It wraps
	// ErrStore.
	ErrMalformed = fmt.Errorf("%w: malformed content", ErrStore)
	// ErrExists reports that an account with the username or the subdomain, or
	// a token with the ID, exists.
	ErrExists = errors.New("it exists already")
	// ErrNotFound reports that the account or the token does not exist.
	ErrNotFound = errors.New("it does not exist")
)

// Store keeps accounts and their values. It holds the truth, and no rules: the
// Registry decides what to write.
//
// The unit of writing is a batch of mutations, because a flush of the disk, or
// a round trip to a shared database, costs the same for one as for a thousand.
// The Registry collects what waits (see queue) for every store alike, and so
// knows the order of commits, which is the order in which its index changes.
//
// The Registry calls Load, Commit and Recover one at a time, never two at
// once. Close may come from another goroutine; it waits for the call under way.
// Import is for a store that no Registry has open.
//
// Errors wrap ErrStore, except a *MutationError. They are for operators and may
// carry a Hint method; no client sees their text.
type Store interface {
	// Load calls each for every account, in any order, and returns the rest
	// of the state, all of one moment. The Entry and what it holds are valid
	// only during the call. An error of each ends Load and is returned.
	Load(ctx context.Context, each func(*Entry) error) (State, error)

	// Commit makes a batch durable, all of it or nothing, in order. When it
	// returns nil the batch survives a crash of the process and a loss of
	// power, and Load would show it.
	//
	// If any mutation of the batch changes the zone (ChangesZone) the store's
	// serial has risen in the same transaction, by one for a batch. It starts
	// at the unix time of the store's creation and never falls, so that it
	// names a point in the order of commits, for all writers of a shared
	// store: a node that follows others asks for what came after a serial.
	//
	// A *MutationError says that this one mutation cannot be done, and that
	// nothing was written: the caller may commit the others without it. After
	// any other error the batch may or may not be durable. If it may be, the
	// store refuses all commits until Recover, which then asks for a reload.
	//
	// A context that ends does not take back a commit; a store may ignore it
	// once it has begun.
	Commit(ctx context.Context, batch []Mutation) (Committed, error)

	// Import adds what comes from elsewhere in one transaction, all of it or
	// nothing, when there is too much for a batch. It is as durable as Commit,
	// and the serial rises by one if an account was added.
	//
	// An error in the entries or of Taken ends Import, and so does the end of
	// ctx; then nothing was written and the error is in that of Import. A caller
	// who wants to know what an import would do ends the entries with one.
	Import(ctx context.Context, what Import) (Committed, error)

	// Recover is called after Commit failed, at growing intervals until
	// Commit succeeds again. It mends what can be mended: it reopens,
	// reconnects, writes a lost file anew. reload says that the content may
	// now differ from what Load and the successful commits said, so that the
	// caller must Load again. An error means not yet.
	Recover(ctx context.Context) (reload bool, err error)

	// Close releases the store. It is not called twice.
	Close() error
}

// Entry is one account with its values, in the order in which they arrived,
// the oldest first.
type Entry struct {
	Account
	Values []Value
}

// Value is a TXT value and the time at which it was last set, in whole seconds.
type Value struct {
	TXT string
	At  time.Time
}

// State is what a store holds beside the accounts.
type State struct {
	Serial     uint64
	Challenges []string // the server's own challenge
	Records    string   // of the newest SetRecords
	Tokens     []Token  // in any order
	Retired    []string // names of RetireName, in any order
	Seq        uint64   // of the newest change, in a Shared store
}

// Committed is the outcome of a batch.
type Committed struct {
	Serial uint64 // after the batch
	Seq    uint64 // of the batch, in a Shared store
}

// MutationError says which mutation of a batch cannot be done, and why: Err is
// or wraps ErrExists or ErrNotFound.
type MutationError struct {
	Index int
	Err   error
}

func (e *MutationError) Error() string { return fmt.Sprintf("mutation %d: %v", e.Index, e.Err) }

// Unwrap returns e.Err.
func (e *MutationError) Unwrap() error { return e.Err }

// Mutation is one change of a store: one of the types below, by value. Stores
// switch on them; one that a store does not know is an error.
type Mutation interface {
	// ChangesZone reports whether the mutation changes what DNS serves.
	ChangesZone() bool
}

// CreateAccount adds an account. ErrExists, of a Shared store: the username is taken,
// or the subdomain without regard to the case of ASCII letters. The Registry knows the
// accounts of other stores and asks for none twice.
type CreateAccount struct{ Account }

// PutValue sets a value of an account and makes it the newest, whether or not
// the account has it. ErrNotFound, of a Shared store: there is no such account. The
// Registry asks other stores for no value of none.
type PutValue struct {
	Username uuid.UUID
	Value
}

// DropValue removes a value, but only while its time is still At: one that was
// set again since, perhaps by another node, stays. To remove what is not there
// is no error.
type DropValue struct {
	Username uuid.UUID
	Value
}

// ReplacePassword puts another hash in the place of an account's. An account
// that does not exist is no error.
type ReplacePassword struct {
	Username     uuid.UUID
	PasswordHash []byte
}

// DeleteAccount removes an account with its values. One that does not exist is
// no error.
type DeleteAccount struct{ Username uuid.UUID }

// SetAllowFrom replaces the allow list of an account, and unlocks it. An account
// that does not exist is no error.
type SetAllowFrom struct {
	Username  uuid.UUID
	AllowFrom []string
}

// SetNote replaces the note of an account. An account that does not exist is no
// error.
type SetNote struct {
	Username uuid.UUID
	Note     string
}

// MarkUsed moves Authenticated and Updated of an account forward. An earlier
// time than is known, such as the zero one, changes nothing. An account that
// does not exist is no error.
type MarkUsed struct {
	Username               uuid.UUID
	Authenticated, Updated time.Time
}

// RetireName keeps a name, without regard to case, in State.Retired. It does not
// stop a CreateAccount: that is the Registry's rule. To repeat it is no error.
type RetireName struct{ Name string }

// ReleaseName undoes RetireName. A name that is not retired is no error.
type ReleaseName struct{ Name string }

// SetChallenges replaces the values of the server's own challenge.
type SetChallenges struct{ Values []string }

// SetRecords notes which records the zone has beside accounts and challenges, by
// a fingerprint of them.
type SetRecords struct{ Fingerprint string }

// CreateToken adds a registration token. ErrExists: one has its ID or its hash.
type CreateToken struct{ Token }

// RevokeToken removes a token. One that does not exist is no error.
type RevokeToken struct{ ID string }

// UseToken counts a use of a token, in the batch of the CreateAccount that it
// allows. ErrNotFound: there is no such token, or none of its uses is left.
type UseToken struct {
	ID string
	At time.Time
}

// Probe changes nothing that can be read, but is written and flushed like
// everything else. It shows that the store can take writes.
type Probe struct{ At time.Time }

// ChangesZone returns true.
func (CreateAccount) ChangesZone() bool { return true }

// ChangesZone returns true.
func (PutValue) ChangesZone() bool { return true }

// ChangesZone returns true.
func (DropValue) ChangesZone() bool { return true }

// ChangesZone returns false.
func (ReplacePassword) ChangesZone() bool { return false }

// ChangesZone returns true.
func (DeleteAccount) ChangesZone() bool { return true }

// ChangesZone returns false.
func (SetAllowFrom) ChangesZone() bool { return false }

// ChangesZone returns false.
func (SetNote) ChangesZone() bool { return false }

// ChangesZone returns false.
func (MarkUsed) ChangesZone() bool { return false }

// ChangesZone returns false.
func (RetireName) ChangesZone() bool { return false }

// ChangesZone returns false.
func (ReleaseName) ChangesZone() bool { return false }

// ChangesZone returns true.
func (SetChallenges) ChangesZone() bool { return true }

// ChangesZone returns true.
func (SetRecords) ChangesZone() bool { return true }

// ChangesZone returns false.
func (CreateToken) ChangesZone() bool { return false }

// ChangesZone returns false.
func (RevokeToken) ChangesZone() bool { return false }

// ChangesZone returns false.
func (UseToken) ChangesZone() bool { return false }

// ChangesZone returns false.
func (Probe) ChangesZone() bool { return false }
