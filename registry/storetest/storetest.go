// Package storetest is the behaviour that every registry.Store has, as tests.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

// Run tests a kind of store. place prepares an empty place to store in, for
// one test, and returns a function that opens a store there; it is called
// again, after Close, to see what lasted.
func Run(t *testing.T, place func(t *testing.T) (open func() (registry.Store, error))) {
	for _, test := range []struct {
		name string
		run  func(*harness)
	}{
		{"NewStoreIsEmpty", newStoreIsEmpty},
		{"AccountSurvivesReopen", accountSurvivesReopen},
		{"ValuesKeepTheOrderOfArrival", valuesKeepOrder},
		{"ValueSetAgainIsTheNewest", valueSetAgain},
		{"DropSparesAValueSetAgain", dropSparesSetAgain},
		{"SerialRisesWithTheZoneOnly", serialRises},
		{"ChallengesAreReplaced", challengesAreReplaced},
		{"RecordsAreNoted", recordsAreNoted},
		{"PasswordIsReplaced", passwordIsReplaced},
		{"DeletedAccountIsGone", deletedAccount},
		{"DeletedAccountIsMadeAgainInOneBatch", deletedInOneBatch},
		{"AllowFromIsReplaced", allowFromIsReplaced},
		{"NoteIsReplaced", noteIsReplaced},
		{"UseMovesForwardOnly", useMovesForward},
		{"NamesAreRetired", namesAreRetired},
		{"OnlyDeletionMovesTheSerial", lifeMovesNoSerial},
		{"SameUsernameIsRefused", sameUsername},
		{"SameSubdomainInAnotherCaseIsRefused", sameSubdomain},
		{"ValueOfNoAccountIsRefused", valueOfNoAccount},
		{"TokenSurvivesReopen", tokenSurvivesReopen},
		{"SameTokenIsRefused", sameTokenIsRefused},
		{"UsesOfATokenAreCounted", usesAreCounted},
		{"SpentTokenRefusesTheAccount", spentTokenRefusesTheAccount},
		{"RefusedBatchLeavesNothing", refusedBatch},
		{"UnknownMutationFails", unknownMutation},
		{"LoadStopsAtAnError", loadStops},
		{"CommitIgnoresTheEndOfItsContext", commitIgnoresContext},
		{"LargeBatchIsStored", largeBatch},
		{"ImportIsStored", importIsStored},
		{"ImportLeavesWhatIsTaken", importLeavesTaken},
		{"ImportGivesNoRetiredName", importGivesNoRetiredName},
		{"ImportOfNothingNewChangesNothing", importOfNothingNew},
		{"ImportIsAllOrNothing", importIsAllOrNothing},
		{"LargeImportIsStored", largeImport},
		{"ImportTakesTokensAndRetiredNames", importTakesTheRest},
		{"ImportRaisesTheSerialAboveAnother", importRaisesSerial},
		{"ClosedStoreFails", closedStore},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := &harness{T: t, open: place(t)}
			h.reopen()
			t.Cleanup(h.close)
			test.run(h)
		})
	}
}

// harness is one test with its store.
type harness struct {
	*testing.T
	open  func() (registry.Store, error)
	store registry.Store
}

func (h *harness) reopen() {
	h.Helper()
	h.close()
	store, err := h.open()
	if err != nil {
		h.Fatalf("opening: %v", err)
	}
	h.store = store
}

func (h *harness) close() {
	if h.store != nil {
		if err := h.store.Close(); err != nil {
			h.Errorf("closing: %v", err)
		}
		h.store = nil
	}
}

// onlyShared skips a behaviour of stores that several registries write to: what the
// registry knows of the accounts of another store, that store is not asked.
func (h *harness) onlyShared() {
	h.Helper()
	if _, shared := h.store.(registry.Shared); !shared {
		h.Skip("the registry knows the accounts of a store that it alone writes to")
	}
}

func (h *harness) commit(batch ...registry.Mutation) uint64 {
	h.Helper()
	c, err := h.store.Commit(context.Background(), batch)
	if err != nil {
		h.Fatalf("committing: %v", err)
	}
	return c.Serial
}

// loaded is all that a store holds.
type loaded struct {
	registry.State
	entries map[uuid.UUID]registry.Entry
}

func (h *harness) load() loaded {
	h.Helper()
	l := loaded{entries: make(map[uuid.UUID]registry.Entry)}
	var err error
	l.State, err = h.store.Load(context.Background(), func(e *registry.Entry) error {
		c := *e
		c.PasswordHash = slices.Clone(e.PasswordHash)
		c.Subdomain = strings.Clone(e.Subdomain)
		c.AllowFrom = slices.Clone(e.AllowFrom)
		c.Values = slices.Clone(e.Values)
		l.entries[e.Username] = c
		return nil
	})
	if err != nil {
		h.Fatalf("loading: %v", err)
	}
	return l
}

// values returns the texts of an account's values.
func (l loaded) values(username uuid.UUID) (texts []string) {
	for _, v := range l.entries[username].Values {
		texts = append(texts, v.TXT)
	}
	return texts
}

func (h *harness) wantValues(username uuid.UUID, want ...string) {
	h.Helper()
	if got := h.load().values(username); !slices.Equal(got, want) {
		h.Errorf("values are %q, want %q", got, want)
	}
}

func (h *harness) wantRefused(index int, target error, batch ...registry.Mutation) {
	h.Helper()
	_, err := h.store.Commit(context.Background(), batch)
	var refused *registry.MutationError
	if !errors.As(err, &refused) || refused.Index != index || !errors.Is(err, target) {
		h.Errorf("commit: %v, want a MutationError at %d with %v", err, index, target)
	}
}

// moment is an arbitrary time in whole seconds.
var moment = time.Unix(1_800_000_000, 0)

func account() registry.Account {
	return registry.Account{
		Username:     uuid.New(),
		PasswordHash: []byte(strings.Repeat("h", 32)),
		Subdomain:    uuid.NewString(),
		Created:      moment,
	}
}

func value(i int) registry.Value {
	return registry.Value{TXT: fmt.Sprintf("%043d", i), At: moment.Add(time.Duration(i) * time.Second)}
}

func put(a registry.Account, i int) registry.PutValue {
	return registry.PutValue{Username: a.Username, Value: value(i)}
}
