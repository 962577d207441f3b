//go:build unix

package postgres

import (
	"context"
	"syscall"
)

// Kill ends the server and all its processes without a chance to clean up.
func (s *Server) Kill() {
	// The children notice that the first process is gone, and end.
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.exited
}

// Restart starts the server again after Kill.
func (s *Server) Restart(ctx context.Context) error { return s.run(ctx) }

// Stop ends the server in good order: what it has is on the disk.
func (s *Server) Stop() {
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	<-s.exited
}
