//go:build unix

package postgres

import (
	"net"
	"net/url"
	"path/filepath"
	"sync"
)

// port is PostgreSQL's, which is in the name of its Unix socket.
const port = ".s.PGSQL.5432"

// Line is a way to a server that can be cut: then nothing goes through it, in
// neither direction, and neither end is told.
type Line struct {
	folder   string
	target   string
	listener net.Listener
	group    sync.WaitGroup

	mu    sync.Mutex
	open  *sync.Cond // on mu
	cut   bool
	conns map[net.Conn]struct{}
}

// Line makes a way to the server with a socket in folder.
func (s *Server) Line(folder string) (*Line, error) {
	listener, err := net.Listen("unix", filepath.Join(folder, port))
	if err != nil {
		return nil, err
	}
	l := &Line{folder: folder, target: filepath.Join(s.folder, port), listener: listener, conns: map[net.Conn]struct{}{}}
	l.open = sync.NewCond(&l.mu)
	l.group.Go(l.accept)
	return l, nil
}

// URL is the connection of the server's database over this line.
func (l *Line) URL() string {
	return "postgres://acmedns@/postgres?sslmode=disable&host=" + url.QueryEscape(l.folder)
}

// Cut stops what goes through.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
}

// Mend lets new connections through. Those that were cut are lost.
func (l *Line) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
	l.open.Broadcast()
}

// Close ends the line.
func (l *Line) Close() error {
	err := l.listener.Close()
	l.Mend()
	l.group.Wait()
	return err
}

func (l *Line) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.add(near)
		l.group.Go(func() { l.connect(near) })
	}
}

func (l *Line) connect(near net.Conn) {
	defer near.Close()
	l.await()
	far, err := net.Dial("unix", l.target)
	if err != nil {
		return
	}
	defer far.Close()
	l.add(far)
	back := make(chan struct{})
	go func() {
		defer close(back)
		l.carry(near, far)
	}()
	l.carry(far, near)
	<-back
}

func (l *Line) add(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = struct{}{}
}

// await returns when the line is not cut.
func (l *Line) await() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cut {
		l.open.Wait()
	}
}

// carry copies until one of the two ends, and then ends the other.
func (l *Line) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		l.await()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
