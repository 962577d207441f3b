package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"cnamed/test/program"
)

// storeFault is a server whose database fails in some way and recovers.
type storeFault struct {
	server *program.Server
	client *http.Client
	acct   account
	n      int
}

// newStoreFault registers an account and sets a first value.
func newStoreFault(t *testing.T, s *program.Server) *storeFault {
	t.Helper()
	f := &storeFault{server: s, client: &http.Client{}}
	t.Cleanup(f.client.CloseIdleConnections)
	var err error
	if f.acct, err = registerAccount(testContext(t), f.client, s.API[0]); err != nil {
		t.Fatal(err)
	}
	if err := f.update(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return f
}

// update sets the next value, and checks that it is served where it was taken,
// and not where it was not.
func (f *storeFault) update(ctx context.Context) error {
	f.n++
	r, err := update(ctx, f.client, f.server.API[0], f.acct, value(f.n))
	if err != nil {
		return err
	}
	got, err := values(ctx, f.server.DNS[0], f.acct.Subdomain)
	if err != nil {
		return fmt.Errorf("DNS stopped serving: %w", err)
	}
	if taken := r.status == http.StatusOK; slices.Contains(got, value(f.n)) != taken {
		return fmt.Errorf("the update was answered %d, and %v is served", r.status, got)
	}
	if r.status != http.StatusOK {
		return errors.New(r.body)
	}
	return nil
}

func (f *storeFault) health(ctx context.Context) (int, error) {
	r, err := call(ctx, f.client, http.MethodGet, f.server.API[0]+"/health", account{}, "")
	return r.status, err
}

// failing waits until updates fail as they should, and checks all that has to
// be true then. The first value stays served throughout.
func (f *storeFault) failing(t *testing.T) {
	t.Helper()
	ctx := testContext(t)
	eventually(t, func() error {
		err := f.update(ctx)
		switch {
		case err == nil:
			return errors.New("updates are still taken")
		case err.Error() != `{"error": "db_error"}`:
			t.Fatalf("the update failed with %v", err)
		}
		return nil
	})
	if status, err := f.health(ctx); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("/health: %d %v, want 503", status, err)
	}
	if _, err := values(ctx, f.server.DNS[0], f.acct.Subdomain); err != nil {
		t.Errorf("DNS stopped serving: %v", err)
	}
}

// recovered waits until updates are taken again, which needs no help.
func (f *storeFault) recovered(t *testing.T) {
	t.Helper()
	ctx := testContext(t)
	eventually(t, func() error { return f.update(ctx) })
	eventually(t, func() error {
		if status, err := f.health(ctx); err != nil || status != http.StatusOK {
			return fmt.Errorf("/health: %d %w", status, err)
		}
		return nil
	})
}

func TestDatabaseDeletedWhileRunning(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := serve(t, data)
	f := newStoreFault(t, s)
	for _, file := range []string{"cnamed.db", "cnamed.db-wal", "cnamed.db-shm"} {
		if err := os.Remove(filepath.Join(data, file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	f.failing(t)
	f.recovered(t)

	// It is whole again, also for the next start.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, data)
	got, err := values(testContext(t), s.DNS[0], f.acct.Subdomain)
	if err != nil || !slices.Contains(got, value(f.n)) {
		t.Errorf("after a restart: %v %v, want %s", got, err, value(f.n))
	}
}

func TestDatabaseReadOnlyWhileRunning(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	f := newStoreFault(t, serve(t, data))
	file := filepath.Join(data, "cnamed.db")
	if err := os.Chmod(file, 0o400); err != nil {
		t.Fatal(err)
	}
	f.failing(t)
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	f.recovered(t)
}

// TestDiskFullWhileRunning gives the server a small file system of its own, in a
// mount namespace that this test sees through /proc.
func TestDiskFullWhileRunning(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	unshare := "unshare -m"
	if os.Geteuid() != 0 {
		unshare = "unshare -r -m"
	}
	may := exec.Command("sh", "-c", unshare+" mount -t tmpfs tmpfs "+data).Run() == nil
	required(t, may, "mounting a file system of one's own is not allowed here")

	wrapper := filepath.Join(t.TempDir(), "serve")
	text := fmt.Sprintf("#!/bin/sh\nexec %s sh -c 'mount -t tmpfs -o size=2m,mode=0700 tmpfs %s && exec %s \"$@\"' sh \"$@\"\n", unshare, data, binary)
	if err := os.WriteFile(wrapper, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := program.Start(testContext(t), wrapper, program.Options{}, serveArgs(data)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	f := newStoreFault(t, s)

	filler := filepath.Join("/proc", fmt.Sprint(s.Pid()), "root", data, "filler")
	if err := fill(filler); err != nil {
		t.Fatal(err)
	}
	f.failing(t)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	f.recovered(t)
}

// fill writes a file until there is no room for another byte.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, size := range []int{64 << 10, 1} {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}

// TestDatabaseDeletedBeforeTheEnd: nobody writes between the loss of the file
// and the end of the server, and yet nothing is lost.
func TestDatabaseDeletedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := serve(t, data)
	f := newStoreFault(t, s)
	for _, file := range []string{"cnamed.db", "cnamed.db-wal", "cnamed.db-shm", "cnamed.db-lock"} {
		if err := os.Remove(filepath.Join(data, file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, data)
	got, err := values(testContext(t), s.DNS[0], f.acct.Subdomain)
	if err != nil || !slices.Contains(got, value(f.n)) {
		t.Errorf("after a restart: %v %v, want %s", got, err, value(f.n))
	}
}
