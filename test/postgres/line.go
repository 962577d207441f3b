//go:build unix

package postgres

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
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

	muted atomic.Bool
	lost  atomic.Int64 // notifications

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

// Mute loses the notifications on their way from the server, of connections that
// are there and of new ones, and nothing else.
func (l *Line) Mute() { l.muted.Store(true) }

// Lost is how many notifications a muted line has lost.
func (l *Line) Lost() int { return int(l.lost.Load()) }

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
		l.carry(near, &messages{line: l, from: bufio.NewReader(far)})
		_ = far.Close()
	}()
	l.carry(far, near)
	_ = near.Close()
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

// carry copies until one of the two ends, and then ends the one that it writes to.
func (l *Line) carry(to net.Conn, from io.Reader) {
	defer to.Close()
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

// messages reads what a server sends without TLS: messages, each a letter and a
// length that counts itself, "Message Formats" in PostgreSQL's documentation.
type messages struct {
	line *Line
	from *bufio.Reader
	left int // of the message that is being read
}

// Read brings no part of a notification while the line is muted.
func (m *messages) Read(p []byte) (int, error) {
	for m.left == 0 {
		header, err := m.from.Peek(5)
		if err != nil {
			return 0, err
		}
		m.left = 1 + int(binary.BigEndian.Uint32(header[1:]))
		if header[0] == notificationResponse && m.line.muted.Load() {
			if _, err := m.from.Discard(m.left); err != nil {
				return 0, err
			}
			m.line.lost.Add(1)
			m.left = 0
		}
	}
	n, err := m.from.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, err
}

const notificationResponse = 'A'
