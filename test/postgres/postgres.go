//go:build unix

// Package postgres runs a PostgreSQL server of a test's own: in a folder that is
// removed, on a Unix socket in it, as an unprivileged user where the test is
// root, and without any durability.
package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Server is a running server.
type Server struct {
	folder string
	cmd    *exec.Cmd
	log    *bytes.Buffer
	exited chan struct{}

	args       []string
	credential *syscall.Credential
	port       string // "": PostgreSQL's own
}

// Binaries returns the folder of the newest installed server, or nothing.
// Debian keeps it out of the PATH.
func Binaries() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		return ""
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }))
}

// Start makes a database and returns when it takes connections. Settings, as
// fsync=on, win over those for tests.
func Start(ctx context.Context, settings ...string) (_ *Server, err error) {
	// The path of a Unix socket has room for a hundred octets.
	folder, err := os.MkdirTemp("/tmp", "cnamed-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder, log: new(bytes.Buffer), exited: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	credential, err := unprivileged(folder)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(folder, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(Binaries(), "initdb"), "-D", data, "-U", "acmedns",
		"--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C.UTF-8")
	initdb.Dir, initdb.SysProcAttr = folder, &syscall.SysProcAttr{Credential: credential}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	s.args = []string{"-D", data, "-k", folder, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=10"}
	for _, setting := range settings {
		s.args = append(s.args, "-c", setting)
	}
	s.credential = credential
	return s, s.run(ctx)
}

// run starts the server on the database that is there.
func (s *Server) run(ctx context.Context) error {
	cmd := exec.Command(filepath.Join(Binaries(), "postgres"), s.args...)
	cmd.Dir, cmd.SysProcAttr = s.folder, &syscall.SysProcAttr{Credential: s.credential}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.cmd, s.exited = cmd, exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	return s.await(ctx)
}

// unprivileged gives folder to a user that the server runs as. It refuses to
// run as root.
func unprivileged(folder string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(folder, uid, gid)
}

// await returns when the server takes connections.
func (s *Server) await(ctx context.Context) error {
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for {
		ready := exec.CommandContext(ctx, filepath.Join(Binaries(), "pg_isready"), "-q", "-h", s.folder, "-p", cmp.Or(s.port, "5432"))
		if ready.Run() == nil {
			return nil
		}
		select {
		case <-ticks.C:
		case <-s.exited:
			return fmt.Errorf("postgres ended: %s", s.log)
		case <-ctx.Done():
			return fmt.Errorf("postgres is not ready: %w", ctx.Err())
		}
	}
}

// Connection is the connection string of the server's only database, as
// acme-dns has it in its configuration.
func (s *Server) Connection() string {
	return "host=" + s.folder + " user=acmedns dbname=postgres sslmode=disable"
}

// Close ends the server and removes all that it kept.
func (s *Server) Close() error {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // at once, since nothing is kept
		<-s.exited
	}
	return os.RemoveAll(s.folder)
}
