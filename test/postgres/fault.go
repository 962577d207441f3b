//go:build unix

package postgres

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// URL is the connection of the server's only database, as a URL.
func (s *Server) URL() string {
	return "postgres://acmedns@/postgres?sslmode=disable&host=" + url.QueryEscape(s.folder)
}

// Kill ends the server and all its processes without a chance to clean up.
func (s *Server) Kill() {
	s.signal(syscall.SIGKILL)
	<-s.exited
}

// Restart starts the server again after Kill.
func (s *Server) Restart(ctx context.Context) error { return s.run(ctx) }

// Pause stops all processes of the server where they are, until Resume.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a server that was paused go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// signal is for the first process, so that there are no new ones, and for all that
// it has started: each of them is a process group of its own.
func (s *Server) signal(sig syscall.Signal) {
	pid := s.cmd.Process.Pid
	children := childrenOf(pid)
	_ = syscall.Kill(pid, sig)
	for _, child := range append(children, childrenOf(pid)...) {
		_ = syscall.Kill(child, sig)
	}
}

// childrenOf looks where Linux shows the parents of processes. Elsewhere it finds
// none.
func childrenOf(parent int) (children []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// pid (name) state parent …
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}
