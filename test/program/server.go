package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Server is a running `cnamed serve`.
type Server struct {
	DNS []string // host:port of each DNS address
	API []string // base URL of each API address

	cmd    *exec.Cmd
	log    syncBuffer
	mirror io.Writer
	exited chan struct{}
	err    error
}

var (
	readyLine = regexp.MustCompile(`^cnamed: serving [^:]+: (.*)$`)
	readyPart = regexp.MustCompile(`(dns|api) ([^, ]+)`)
)

// Options are what a test may want of the process around a server.
type Options struct {
	Env    []string  // added to the environment
	Mirror io.Writer // gets a copy of what the server says; may be nil
	Setup  func(*exec.Cmd)
}

// Start runs `cnamed serve` with the given arguments and returns when it says
// that it serves. The error has what it said where it ended instead.
func Start(ctx context.Context, binary string, o Options, args ...string) (*Server, error) {
	s := &Server{
		cmd:    exec.Command(binary, append([]string{"serve"}, args...)...),
		mirror: o.Mirror,
		exited: make(chan struct{}),
	}
	s.cmd.Env = append(os.Environ(), o.Env...)
	if o.Setup != nil {
		o.Setup(s.cmd)
	}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}

	ready := make(chan string, 1)
	go s.follow(stderr, ready)
	select {
	case where := <-ready:
		for _, m := range readyPart.FindAllStringSubmatch(where, -1) {
			if m[1] == "dns" {
				s.DNS = append(s.DNS, m[2])
			} else {
				s.API = append(s.API, m[2])
			}
		}
		return s, nil
	case <-s.exited:
		return nil, fmt.Errorf("cnamed serve ended: %v\n%s", s.err, s.Log())
	case <-ctx.Done():
		s.Kill()
		return nil, fmt.Errorf("cnamed serve is not ready: %w\n%s", ctx.Err(), s.Log())
	}
}

// follow reads what the server says until it ends.
func (s *Server) follow(stderr io.Reader, ready chan<- string) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fmt.Fprintln(&s.log, lines.Text())
		if s.mirror != nil {
			fmt.Fprintln(s.mirror, lines.Text())
		}
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			ready <- m[1]
		}
	}
	s.err = s.cmd.Wait()
	close(s.exited)
}

// Pid returns the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Log returns all that the server has said on standard error.
func (s *Server) Log() string { return s.log.String() }

// Exited is closed once the server has ended, by itself or not.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Stop asks the server to end and returns how it did. One that does not within
// 30 seconds is killed, and that is an error.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	select {
	case <-s.exited:
		if s.err != nil {
			return fmt.Errorf("cnamed serve: %w\n%s", s.err, s.Log())
		}
		return nil
	case <-timeout.C:
		s.Kill()
		return fmt.Errorf("cnamed serve did not end on SIGTERM\n%s", s.Log())
	}
}

// Kill ends the server with SIGKILL and waits for it to be gone.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// syncBuffer is a buffer that is safe for concurrent use.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
