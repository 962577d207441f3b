//go:build linux && (amd64 || arm64)

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

const (
	// sockets are enough for the kernel to spread them evenly over the sockets
	// of a server. Each stands for a resolver.
	sockets = 32
	// window is how many questions of a socket are in flight at saturation: 256
	// in all, which is what the receive buffer holds that a socket has where
	// the server does not ask for more. Nothing has to be dropped.
	window = 8
	// sampleOf: see load.stamped.
	sampleOf = 4
)

// load sends questions to a server and counts the answers.
type load struct {
	server  netip.AddrPort
	queries *corpus
	// stamped measures the latency of answers, of every sampleOf-th socket: to have
	// the kernel stamp each question would cost as much as to answer it.
	stamped bool
}

// result is what one run of a load found.
type result struct {
	sent, answered int
	elapsed        time.Duration
	rcodes         [16]int
	truncated      int

	latencies []time.Duration // of an answer, from wire to wire: as the kernel stamps the question and it
	since     []time.Duration // the same, from when the question was due
	late      []time.Duration // from when a question was due to its sending
}

func (r *result) perSecond() float64 { return float64(r.answered) / r.elapsed.Seconds() }

// lost is the share of the questions that were never answered.
func (r *result) lost() float64 { return 1 - float64(r.answered)/float64(max(r.sent, 1)) }

// add counts an answer.
func (r *result) add(m []byte) {
	if len(m) < 12 || m[2]&0x80 == 0 {
		return
	}
	r.answered++
	r.rcodes[m[3]&0x0f]++
	if m[2]&0x02 != 0 {
		r.truncated++
	}
}

// merge adds what another thread found in the same time.
func (r *result) merge(o result) {
	r.sent += o.sent
	r.answered += o.answered
	r.truncated += o.truncated
	for i := range r.rcodes {
		r.rcodes[i] += o.rcodes[i]
	}
	r.elapsed = max(r.elapsed, o.elapsed)
}

// check fails where a server did not do the work that the others did.
func (r *result) check() error {
	if r.answered == 0 {
		return errors.New("no question was answered")
	}
	wrong := r.answered - r.rcodes[dns.RcodeSuccess] - r.rcodes[dns.RcodeNameError]
	if wrong > 0 || r.truncated > 0 {
		return fmt.Errorf("of %d answers %d are errors and %d are truncated: is a limit of the server in the way?",
			r.answered, wrong, r.truncated)
	}
	return nil
}

// session is one socket of a load.
type session struct {
	fd      int
	stamped bool
	queries *corpus
	next    int    // of the questions
	id      uint16 // of the next question
	pending int
	heard   time.Time
}

// open makes n sessions that start at different questions.
func (l *load) open(n int) (all []*session, err error) {
	for i := range n {
		stamped := l.stamped && i%sampleOf == 0
		fd, err := l.socket(stamped)
		if err != nil {
			return all, errors.Join(err, closeSessions(all))
		}
		all = append(all, &session{fd: fd, stamped: stamped, queries: l.queries, next: l.queries.len() / n * i})
	}
	return all, nil
}

func (l *load) socket(stamped bool) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if stamped {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stampBoth)
	}
	// Answers lie here until the next look.
	err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20))
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(l.server.Port()), Addr: l.server.Addr().As4()})
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func closeSessions(all []*session) error {
	var errs []error
	for _, s := range all {
		errs = append(errs, unix.Close(s.fd))
	}
	return errors.Join(errs...)
}

// send sends the next n questions. Their ids follow one another.
func (s *session) send(out *batch, n int) error {
	for i := range n {
		size := copy(out.buffers[i][:], s.queries.query(s.next))
		out.buffers[i][0], out.buffers[i][1] = byte(s.id>>8), byte(s.id)
		out.setLen(i, size)
		s.id++
		if s.next++; s.next == s.queries.len() {
			s.next = 0
		}
	}
	s.pending += n
	return out.send(s.fd, n)
}

// receive takes the answers that are there. None is no error.
func (s *session) receive(in *batch) (int, error) {
	n, err := s.take(in, 0)
	s.pending = max(0, s.pending-n)
	return n, err
}

// sent takes the stamps of questions that were sent.
func (s *session) sent(in *batch) (int, error) { return s.take(in, unix.MSG_ERRQUEUE) }

func (s *session) take(in *batch, queue uintptr) (int, error) {
	n, err := in.receive(s.fd, unix.MSG_DONTWAIT|queue)
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("receiving: %w", err)
	}
	return n, nil
}
