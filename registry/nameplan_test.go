package registry

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// A store that refuses no name shows that the plan of a batch does.
func TestPlanGivesANameOnceInABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := openFake(t, s, Options{})
		token, _, err := r.CreateToken(t.Context(), TokenRequest{MaxUses: 1})
		if err != nil {
			t.Fatal(err)
		}
		g := newGate(s)
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.probe(t.Context()) })
		<-g.entered
		var exist, refused atomic.Int32
		register := func(name, token string) {
			wg.Go(func() {
				switch _, err := r.RegisterAs(t.Context(), Registration{Subdomain: name, Token: token}); {
				case errors.Is(err, ErrExists):
					exist.Add(1)
				case errors.Is(err, ErrToken):
					refused.Add(1)
				case err != nil:
					t.Error(err)
				}
			})
			synctest.Wait() // it waits for the probe
		}
		register("first", token.ID)
		register("popular", token.ID) // whose last use is gone: the name is still free
		for range 10 {
			register("popular", "")
		}
		g.leave <- struct{}{}
		g.pass()
		wg.Wait()
		if n := len(s.commits[len(s.commits)-1]); n != 3 || r.Len() != 2 || exist.Load() != 9 || refused.Load() != 1 {
			t.Errorf("%d mutations, %d accounts, %d refused for the name, %d for the token", n, r.Len(), exist.Load(), refused.Load())
		}
	})
}
