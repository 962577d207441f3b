//go:build unix

package postgres

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cnamed/registry"
	"cnamed/registry/storetest"
	testserver "cnamed/test/postgres"
)

// server is one PostgreSQL for all tests of the package; each has a schema of its
// own in it.
var server struct {
	once sync.Once
	*testserver.Server
	err error
}

var schemas atomic.Int64

func TestMain(m *testing.M) {
	code := m.Run()
	if server.Server != nil {
		_ = server.Close()
	}
	os.Exit(code)
}

// place returns how to reach an empty schema.
func place(t testing.TB) (connection, schema string) {
	t.Helper()
	if testserver.Binaries() == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no PostgreSQL, which CI must have")
		}
		t.Skip("there is no PostgreSQL")
	}
	server.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		server.Server, server.err = testserver.Start(ctx, "max_connections=200")
	})
	if server.err != nil {
		t.Fatal(server.err)
	}
	return server.Connection(), fmt.Sprintf("cnamed_%d", schemas.Add(1))
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() (registry.Store, error) {
		connection, schema := place(t)
		return func() (registry.Store, error) {
			return Open(context.Background(), connection, Options{Schema: schema})
		}
	})
}
