//go:build unix

package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"cnamed/registry"
)

func openStores(t *testing.T, count int) (stores []*Store) {
	connection, schema := place(t)
	for range count {
		s, err := Open(t.Context(), connection, Options{Schema: schema})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		stores = append(stores, s)
	}
	return stores
}

func TestNodesHaveOneSecret(t *testing.T) {
	t.Parallel()
	stores := openStores(t, 3)
	secrets := make([][]byte, 12)
	var group sync.WaitGroup
	for i := range secrets {
		group.Go(func() {
			var err error
			secrets[i], err = stores[i%3].Secret(t.Context(), "cookies", func() ([]byte, error) {
				drawn := make([]byte, 16)
				_, err := rand.Read(drawn)
				return drawn, err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, s := range secrets {
		if len(s) != 16 || !bytes.Equal(s, secrets[0]) {
			t.Errorf("secrets are %x", secrets)
		}
	}
	if err := stores[0].StoreSecret(t.Context(), "cookies", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, err := stores[1].LoadSecret(t.Context(), "cookies"); string(got) != "new" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := stores[1].LoadSecret(t.Context(), "other"); got != nil || err != nil {
		t.Errorf("what there is not: %q, %v", got, err)
	}
}

// TestSecretOfASilentDatabase: who starts without a deadline must not wait for
// ever.
func TestSecretOfASilentDatabase(t *testing.T) {
	t.Parallel()
	_, schema := place(t)
	line := lineTo(t)
	store, err := Open(t.Context(), line.URL(), Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if _, err := store.LoadSecret(t.Context(), "cookies"); err != nil {
		t.Fatal(err)
	}
	line.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 6*callTimeout)
	defer cancel()
	_, err = store.Secret(ctx, "cookies", func() ([]byte, error) { return []byte("drawn"), nil })
	if !errors.Is(err, registry.ErrUnavailable) || ctx.Err() != nil {
		t.Errorf("%v, and the caller's own deadline: %v", err, ctx.Err())
	}
}

func TestOneNodeIsAlone(t *testing.T) {
	t.Parallel()
	stores := openStores(t, 3)
	var inside atomic.Int32
	failure := errors.New("failure")
	var group sync.WaitGroup
	for i := range 9 {
		group.Go(func() {
			err := stores[i%3].Alone(t.Context(), "certificate", func(context.Context) error {
				if inside.Add(1) != 1 {
					t.Error("two at once")
				}
				inside.Add(-1)
				return failure
			})
			if !errors.Is(err, failure) {
				t.Error(err)
			}
		})
	}
	group.Wait()
}
