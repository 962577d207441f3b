package dnsserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

const (
	flushSize = 16 << 10 // octets of replies to pipelined queries that are collected for one write
	keepSize  = 4 << 10  // a connection that waits keeps no larger buffer
)

// acceptConns accepts connections until ctx ends.
func (s *Server) acceptConns(ctx context.Context, listener net.Listener, conns *connSet) error {
	var trouble backoff
	for {
		c, err := listener.Accept()
		switch {
		case err == nil:
			trouble.reset()
			conns.start(c, s.serveConn)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting DNS connections: %w", err)
		default:
			if trouble.first() {
				s.log().Warn("accepting a TCP connection failed; trying on", "listen", listener.Addr().String(), "err", err)
			}
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
				conns.makeRoom()
			}
			trouble.wait(ctx)
		}
	}
}

// stream is the state of one connection. RFC 7766 §6.2.1.1: queries may come one behind the other, without waiting for
// the replies. Each is answered at once from memory, so the replies keep their order.
type stream struct {
	conn    *conn
	reader  *bufio.Reader
	request []byte
	reply   []byte
	out     []byte // replies with their lengths, to be written together

	idle, message, write time.Duration
}

func (s *Server) serveConn(c *conn) {
	st := &stream{
		conn:    c,
		reader:  bufio.NewReaderSize(c, 2048),
		idle:    orDefault(s.IdleTimeout, defaultIdleTimeout),
		message: orDefault(s.MessageTimeout, defaultMessageTimeout),
		write:   orDefault(s.WriteTimeout, defaultWriteTimeout),
	}
	for st.next() {
		c.touch()
		reply := s.Answer(st.reply, st.request, Client{Transport: TCP, Addr: c.addr, send: st.send})
		switch {
		case reply == nil:
			st.flush() // not a query, or a transfer that was cut off: nothing that follows can be trusted either
			return
		case len(reply) == 0:
			continue // a transfer, which is sent
		}
		st.reply = reply[:0]
		st.out = binary.BigEndian.AppendUint16(st.out, uint16(len(reply)))
		st.out = append(st.out, reply...)
		if len(st.out) >= flushSize && !st.flush() {
			return
		}
	}
	st.flush()
}

// send writes one message of a reply that has many.
func (st *stream) send(msg []byte) error {
	if st.conn.set.draining.Load() {
		return errEnding
	}
	st.conn.touch()
	st.out = binary.BigEndian.AppendUint16(st.out, uint16(len(msg)))
	st.out = append(st.out, msg...)
	return st.tryFlush()
}

var errEnding = errors.New("the server is ending")

// next reads a message into st.request. It returns false when there will be none in time. Before it waits for the
// client it writes what the client may be waiting for.
func (st *stream) next() bool {
	if !st.buffered() {
		if !st.flush() || !st.expect(st.idle) {
			return false
		}
		st.shrink()
		if _, err := st.reader.Peek(1); err != nil {
			return false
		}
		// From its first octet on, a message has to arrive in a bounded time however it is cut into pieces.
		if !st.buffered() && !st.expect(st.message) {
			return false
		}
	}
	var prefix [2]byte
	if _, err := io.ReadFull(st.reader, prefix[:]); err != nil {
		return false
	}
	size := int(binary.BigEndian.Uint16(prefix[:]))
	if cap(st.request) < size {
		st.request = make([]byte, size)
	}
	st.request = st.request[:size]
	_, err := io.ReadFull(st.reader, st.request)
	return err == nil
}

// shrink gives large buffers back, so that many idle connections hold little memory.
func (st *stream) shrink() {
	for _, buffer := range []*[]byte{&st.request, &st.reply, &st.out} {
		if cap(*buffer) > keepSize {
			*buffer = nil
		}
	}
}

// buffered says whether a whole message is here already.
func (st *stream) buffered() bool {
	if st.reader.Buffered() < 2 {
		return false
	}
	prefix, err := st.reader.Peek(2)
	return err == nil && st.reader.Buffered() >= 2+int(binary.BigEndian.Uint16(prefix))
}

// expect sets the time in which the client has to send something. It returns false when the server is ending.
func (st *stream) expect(timeout time.Duration) bool {
	return st.conn.SetReadDeadline(time.Now().Add(timeout)) == nil && !st.conn.set.draining.Load()
}

// flush writes the replies. A client that does not take them holds up itself alone, and not for long.
func (st *stream) flush() bool { return st.tryFlush() == nil }

func (st *stream) tryFlush() error {
	if len(st.out) == 0 {
		return nil
	}
	if err := st.conn.SetWriteDeadline(time.Now().Add(st.write)); err != nil {
		return err
	}
	_, err := st.conn.Write(st.out)
	st.out = st.out[:0]
	return err
}
