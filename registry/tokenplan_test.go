package registry

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// A store that counts nothing shows that the plan of a batch does: what it lets
// through is refused by a store only one by one, each with a batch planned anew.
func TestPlanSharesTheUsesOfATokenInABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		token, _, err := r.CreateToken(t.Context(), TokenRequest{MaxUses: 3})
		if err != nil {
			t.Fatal(err)
		}
		g := newGate(s)
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.probe(t.Context()) })
		<-g.entered
		for range 10 {
			wg.Go(func() {
				if _, err := r.RegisterAs(t.Context(), Registration{Token: token.ID}); err != nil && !errors.Is(err, ErrToken) {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // all wait for the probe
		g.leave <- struct{}{}
		g.pass()
		wg.Wait()
		if n := len(s.commits[len(s.commits)-1]); n != 6 || r.Len() != 3 {
			t.Errorf("%d mutations, %d accounts", n, r.Len())
		}
	})
}
