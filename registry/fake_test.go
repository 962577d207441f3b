package registry

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// fakeStore is a store of nothing, whose failures the test chooses.
type fakeStore struct {
	mu       sync.Mutex
	commits  [][]Mutation
	serial   uint64
	recovers int
	reload   bool
	entries  []Entry

	onCommit func(batch []Mutation) error // nil: success
}

func (s *fakeStore) Load(_ context.Context, each func(*Entry) error) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if err := each(&e); err != nil {
			return State{}, err
		}
	}
	return State{Serial: s.serial}, nil
}

func (s *fakeStore) Commit(ctx context.Context, batch []Mutation) (Committed, error) {
	if s.onCommit != nil {
		if err := s.onCommit(batch); err != nil {
			return Committed{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return Committed{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits = append(s.commits, batch)
	s.serial++
	return Committed{Serial: s.serial}, nil
}

func (s *fakeStore) Import(context.Context, Import) (Committed, error) {
	return Committed{}, errors.New("a registry imports nothing")
}

func (s *fakeStore) Recover(context.Context) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recovers++
	return s.reload, nil
}

func (s *fakeStore) Close() error { return nil }

func (s *fakeStore) counts() (commits, recovers int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.commits), s.recovers
}

func openFake(t testing.TB, s *fakeStore, opts Options) *Registry {
	t.Helper()
	r, err := Open(context.Background(), s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newEntry() Entry {
	return Entry{Account: Account{Username: uuid.New(), PasswordHash: HashPassword("p"), Subdomain: uuid.NewString()}}
}
