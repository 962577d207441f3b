package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

// TestAccessesOfOneBatchSeeEachOther has pairs of writes to one account
// committed together: what the first does, the second knows.
func TestAccessesOfOneBatchSeeEachOther(t *testing.T) {
	t.Parallel()
	password := strings.Repeat("p", passwordLength)
	type act func(r *Registry, a *Access) error
	rotate := func(_ *Registry, a *Access) error { _, err := a.Rotate(context.Background()); return err }
	remove := func(_ *Registry, a *Access) error { return a.Delete(context.Background()) }
	clean := func(_ *Registry, a *Access) error { return a.Clear(context.Background()) }
	update := func(r *Registry, a *Access) error {
		return r.Update(context.Background(), Update{Username: a.username.String(), Password: password,
			Subdomain: a.subdomain, TXT: strings.Repeat("t", txtLength)})
	}
	prune := func(r *Registry, a *Access) error {
		pruned, err := r.Prune(context.Background(), []uuid.UUID{a.username}, time.Unix(1<<31, 0))
		if err == nil && len(pruned) == 0 {
			err = errSpared
		}
		return err
	}
	for name, test := range map[string]struct {
		first, second act
		want          error
		served        int // values afterwards; -1: the name is gone
	}{
		"rotate, rotate": {rotate, rotate, ErrForbidden, 0},
		"rotate, update": {rotate, update, ErrForbidden, 0},
		"delete, update": {remove, update, ErrForbidden, -1},
		"delete, delete": {remove, remove, ErrForbidden, -1},
		"update, clear":  {update, clean, nil, 0},
		"clear, update":  {clean, update, nil, 1},
		"update, prune":  {update, prune, errSpared, 1},
		"prune, update":  {prune, update, ErrForbidden, -1},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEntry()
			e.PasswordHash = HashPassword(password)
			s := &fakeStore{entries: []Entry{e}}
			r := openFake(t, s, Options{})
			a, err := r.Login(Login{Username: e.Username.String(), Password: password})
			if err != nil {
				t.Fatal(err)
			}
			g := newGate(s)
			results := [3]chan error{}
			for i, do := range []act{func(r *Registry, _ *Access) error { return r.probe(t.Context()) }, test.first, test.second} {
				results[i] = make(chan error, 1)
				go func() { results[i] <- do(r, a) }()
				synctest.Wait()
				if i == 0 {
					<-g.entered
				}
			}
			g.leave <- struct{}{}
			g.pass()
			for i, want := range []error{nil, nil, test.want} {
				if err := <-results[i]; !errors.Is(err, want) {
					t.Errorf("%s: write %d: %v, want %v", name, i, err, want)
				}
			}
			if n, _ := s.counts(); n != 2 {
				t.Fatalf("%s: %d commits", name, n)
			}
			got, exists, _ := Served(r, e.Subdomain)
			if exists != (test.served >= 0) || len(got) != max(test.served, 0) {
				t.Errorf("%s: served %q, %v", name, got, exists)
			}
		})
	}
}

var errSpared = errors.New("spared")
