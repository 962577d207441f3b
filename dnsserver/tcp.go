package dnsserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
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

// stream reads the queries of a connection and answers them. RFC 7766 §6.2.1.1: they may come one behind the other, without
// waiting for the replies. Each is answered at once from memory, so the replies keep their order; but for a transfer to a
// secondary, which takes its time: what comes behind it is answered by another stream, between its messages.
type stream struct {
	server  *Server
	conn    *conn
	outlet  *outlet
	reader  *bufio.Reader
	request []byte
	reply   []byte
	out     []byte // replies with their lengths, to be written together
	handed  bool   // another stream reads the connection now

	idle, message time.Duration
}

func (s *Server) serveConn(c *conn) {
	st := &stream{
		server:  s,
		conn:    c,
		outlet:  &outlet{conn: c, timeout: orDefault(s.WriteTimeout, defaultWriteTimeout)},
		reader:  bufio.NewReaderSize(c, 2048),
		idle:    orDefault(s.IdleTimeout, defaultIdleTimeout),
		message: orDefault(s.MessageTimeout, defaultMessageTimeout),
	}
	st.serve()
}

func (st *stream) serve() {
	for !st.handed && st.next() {
		st.conn.touch()
		reply := st.server.Answer(st.reply, st.request, Client{Transport: TCP, Addr: st.conn.addr, send: st})
		switch {
		case reply == nil:
			st.flush() // not a query, or a transfer that was cut off: nothing that follows can be trusted either
			st.conn.end()
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

// begin hands the reading over to another stream, so that this one has the time for a transfer, and memory that it shares
// with nobody. One transfer at a time is under way on a connection: the next waits, and what is behind that.
func (st *stream) begin() (end func()) {
	st.flush()
	if !st.outlet.begin() {
		return nil
	}
	st.handed = true
	other := &stream{
		server: st.server, conn: st.conn, outlet: st.outlet, reader: st.reader, idle: st.idle, message: st.message,
	}
	st.conn.run(other.serve)
	return st.outlet.end
}

// send writes one message of a transfer.
func (st *stream) send(msg []byte) error {
	if st.conn.set.draining.Load() {
		return errEnding
	}
	st.conn.touch()
	st.out = binary.BigEndian.AppendUint16(st.out, uint16(len(msg)))
	st.out = append(st.out, msg...)
	return st.tryFlush()
}

// cut ends the connection behind a reply of which the rest is not sent.
func (st *stream) cut() {
	st.outlet.cut()
	st.conn.end()
}

var errEnding = errors.New("the server is ending")

// next reads a message into st.request. It returns false when there will be none in time, or when no reply can be written
// any more; what is here when the server ends is still answered. Before it waits for the client it writes what the client
// may be waiting for.
func (st *stream) next() bool {
	if st.outlet.failed() {
		return false
	}
	if !st.buffered() {
		if !st.flush() || !st.await() {
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

// await waits for the first octet of a message, for as long as a client may be idle. It is not while a transfer is under
// way, RFC 7766 §6.2.3.
func (st *stream) await() bool {
	st.shrink()
	for left := st.idle; left > 0; left = st.outlet.idleLeft(st.idle) {
		if !st.expect(left) {
			return false
		}
		_, err := st.reader.Peek(1)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err == nil
		}
	}
	return false
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

// expect sets the time in which the client has to send something. It returns false when the connection is to end.
func (st *stream) expect(timeout time.Duration) bool {
	return st.conn.SetReadDeadline(time.Now().Add(timeout)) == nil && !st.conn.toEnd()
}

// flush writes the replies.
func (st *stream) flush() bool { return st.tryFlush() == nil }

func (st *stream) tryFlush() error {
	if len(st.out) == 0 {
		return nil
	}
	err := st.outlet.write(st.out)
	st.out = st.out[:0]
	return err
}
