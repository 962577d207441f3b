package registry

import (
	"context"
	"errors"
	"testing"
)

// gapStore is a fakeStore that is shared, in which changes are missing for who is
// not at its newest one.
type gapStore struct {
	fakeStore
	newest uint64
	loads  int
	stays  bool // the gap is there for all
}

func (s *gapStore) Load(ctx context.Context, each func(*Entry) error) (State, error) {
	s.loads++
	state, err := s.fakeStore.Load(ctx, each)
	state.Seq = s.newest
	return state, err
}

func (s *gapStore) Begin(_ context.Context, since uint64) ([]Change, bool, error) {
	if s.stays || since != s.newest {
		return nil, false, ErrGap
	}
	return nil, false, nil
}

func (s *gapStore) Commit(ctx context.Context, batch []Mutation) (Committed, error) {
	s.newest++
	c, err := s.fakeStore.Commit(ctx, batch)
	c.Seq = s.newest
	return c, err
}

func (s *gapStore) Rollback(context.Context)             {}
func (s *gapStore) Settle(context.Context, uint64) error { return nil }
func (s *gapStore) Fresh() bool                          { return true }
func (s *gapStore) Follow(context.Context, Follower)     {}

// TestLoadThatHelpsIsNoFailure: nor is one of an older state, to which the
// database was put back. One after which the same is missing is, and is not tried
// at once again.
func TestLoadThatHelpsIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		newest uint64
		stays  bool
	}{{"newer", 20, false}, {"older", 5, false}, {"same", 10, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &gapStore{newest: 10}
			r, err := Open(t.Context(), s, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			s.newest, s.stays = c.newest, c.stays
			err = r.SetChallenges(t.Context(), nil)
			if c.stays != errors.Is(err, ErrStore) || !c.stays && err != nil {
				t.Errorf("a write: %v", err)
			}
			if s.loads != 2 {
				t.Errorf("loaded %d times", s.loads)
			}
			if got := (follower{r}).Applied(); !c.stays && got != c.newest+1 {
				t.Errorf("applied up to %d, not %d", got, c.newest+1)
			}
		})
	}
}
