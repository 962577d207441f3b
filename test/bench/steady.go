//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// step is the shortest sleep of a load at a rate: up to 20,000 a second each
	// question is sent on its own.
	step = 50 * time.Microsecond
	// linger is for how long the last answers are waited for.
	linger = 200 * time.Millisecond
)

// steady asks at a rate, whatever is answered: an open loop. One thread sends,
// at the moments that the rate gives, and takes the answers in between. When it
// wakes late it sends all that is due, so that the rate is kept.
//
// Latency is from wire to wire, by the stamps of the kernel, so that the client may
// be held up, or look at an answer later; its own lateness is counted beside it.
func (l load) steady(ctx context.Context, rate int, duration time.Duration) (r result, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return r, err
	}
	sessions, err := l.open(sockets)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeSessions(sessions)) }()

	s := newSteady(sessions, l.stamped, int(float64(rate)*duration.Seconds()))
	start := now()
	gap := float64(time.Second) / float64(rate)
	for s.sent < s.total && ctx.Err() == nil {
		due := min(s.total, int(float64(now()-start)/gap)+1)
		// As many sockets are emptied as are filled, so that answers do not pile up
		// where the thread was late.
		for asked := 0; s.sent < due || asked == 0; asked++ {
			if err := s.ask(start, gap, min(batchSize, due-s.sent)); err != nil {
				return s.result, err
			}
			if err := s.take(s.turn + 1); err != nil {
				return s.result, err
			}
		}
		sleepUntil(max(start+int64(float64(s.sent)*gap), now()+step.Nanoseconds()))
	}
	s.elapsed = time.Duration(now() - start)
	for end := now() + linger.Nanoseconds(); now() < end && s.answered < s.sent; {
		for i := range sessions {
			if err := s.take(i); err != nil {
				return s.result, err
			}
		}
		sleepUntil(now() + time.Millisecond.Nanoseconds())
	}
	return s.result, nil
}

// steadyRun is a run of a load at a rate.
type steadyRun struct {
	result
	sessions  []*session
	in, out   *batch
	total     int
	turn      int       // of the sessions
	due, gone [][]int64 // by session and id: when a question was due, and when the kernel gave it to the wire, as far as that is known; 0: not yet, or answered
}

func newSteady(sessions []*session, stamped bool, total int) *steadyRun {
	s := &steadyRun{sessions: sessions, in: newBatch(), out: newBatch(), total: total}
	if !stamped {
		return s
	}
	s.in.keepTimes()
	s.due, s.gone = make([][]int64, len(sessions)), make([][]int64, len(sessions))
	for i := range sessions {
		if sessions[i].stamped {
			s.due[i], s.gone[i] = make([]int64, 1<<16), make([]int64, 1<<16)
		}
	}
	sample := total/sampleOf + batchSize*len(sessions)
	s.latencies, s.since, s.late = make([]time.Duration, 0, sample), make([]time.Duration, 0, sample), make([]time.Duration, 0, total)
	return s
}

// ask sends n questions from the next socket.
func (s *steadyRun) ask(start int64, gap float64, n int) error {
	s.turn = (s.turn + 1) % len(s.sessions)
	from := s.sessions[s.turn]
	if s.due != nil {
		at := now()
		for i := range n {
			due := start + int64(float64(s.sent+i)*gap)
			if from.stamped {
				id := from.id + uint16(i)
				s.due[s.turn][id], s.gone[s.turn][id] = due, 0
			}
			s.late = append(s.late, time.Duration(at-due))
		}
	}
	s.sent += n
	return from.send(s.out, n)
}

// take takes the answers that are there for a socket.
func (s *steadyRun) take(turn int) error {
	turn %= len(s.sessions)
	if err := s.takeStamps(turn); err != nil {
		return err
	}
	n, err := s.sessions[turn].receive(s.in)
	if err != nil {
		return err
	}
	for i := range n {
		m := s.in.message(i)
		s.add(m)
		if !s.sessions[turn].stamped || len(m) < 2 {
			continue
		}
		id := uint16(m[0])<<8 | uint16(m[1])
		if at, _ := s.in.stamp(i); at != 0 && s.gone[turn][id] != 0 {
			s.latencies = append(s.latencies, time.Duration(at-s.gone[turn][id]))
			s.since = append(s.since, time.Duration(at-s.due[turn][id]))
			s.gone[turn][id] = 0
		}
	}
	return nil
}

// takeStamps notes when the kernel gave questions to the wire. When they were
// handed to it says less: a thread can be held up in the midst of that.
func (s *steadyRun) takeStamps(turn int) error {
	for n := batchSize; s.sessions[turn].stamped && n == batchSize; {
		var err error
		if n, err = s.sessions[turn].sent(s.in); err != nil {
			return err
		}
		for i := range n {
			at, number := s.in.stamp(i)
			s.gone[turn][uint16(number)] = at
		}
	}
	return nil
}

// now is the clock by which the kernel stamps datagrams, in nanoseconds.
func now() int64 {
	return time.Now().UnixNano()
}

// sleepUntil sleeps by a raw system call (see batch), with a signal as an excuse
// to return early.
func sleepUntil(at int64) {
	t := unix.NsecToTimespec(at)
	unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_REALTIME, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
}
