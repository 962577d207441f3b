//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is after which time of silence what is in flight counts as lost.
const patience = 50 * time.Millisecond

// flood asks as much as is answered: each socket keeps its window full. There is
// a thread a core, so that the machine is busy whatever the server costs.
func (l load) flood(ctx context.Context, duration time.Duration) (result, error) {
	threads := runtime.NumCPU()
	results, errs := make([]result, threads), make([]error, threads)
	var group sync.WaitGroup
	for i := range threads {
		group.Go(func() { results[i], errs[i] = l.floodThread(ctx, duration, max(1, sockets/threads)) })
	}
	group.Wait()
	var all result
	for _, r := range results {
		all.merge(r)
	}
	return all, errors.Join(errs...)
}

func (l load) floodThread(ctx context.Context, duration time.Duration, n int) (r result, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sessions, err := l.open(n)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeSessions(sessions)) }()
	poll, err := newPoll(sessions)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, unix.Close(poll.fd)) }()

	in, out := newBatch(), newBatch()
	start := time.Now()
	swept := start.Add(-patience)
	for now := start; now.Sub(start) < duration && ctx.Err() == nil; now = time.Now() {
		if now.Sub(swept) >= patience {
			swept = now
			if err := refill(sessions, out, now, &r); err != nil {
				return r, err
			}
		}
		ready, err := poll.wait()
		if err != nil {
			return r, err
		}
		for _, event := range ready {
			s := sessions[event.Fd]
			n, err := s.receive(in)
			if err != nil {
				return r, err
			}
			for i := range n {
				r.add(in.message(i))
			}
			s.heard = now
			if n = min(n, window-s.pending); n > 0 {
				if err := s.send(out, n); err != nil {
					return r, err
				}
				r.sent += n
			}
		}
	}
	r.elapsed = time.Since(start)
	return r, nil
}

// refill fills the windows of the sockets that have heard nothing for long.
func refill(sessions []*session, out *batch, now time.Time, r *result) error {
	for _, s := range sessions {
		if now.Sub(s.heard) < patience {
			continue
		}
		s.heard, s.pending = now, 0
		if err := s.send(out, window); err != nil {
			return err
		}
		r.sent += window
	}
	return nil
}

// pollSet waits for any of many sockets, by raw system calls (see batch).
type pollSet struct {
	fd     int
	events [sockets]unix.EpollEvent
}

func newPoll(sessions []*session) (*pollSet, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	for i, s := range sessions {
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, s.fd, &event); err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
	}
	return &pollSet{fd: fd}, nil
}

func (p *pollSet) wait() ([]unix.EpollEvent, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events)), sockets,
		uintptr(patience.Milliseconds()), 0, 0)
	if errno == unix.EINTR {
		return nil, nil
	}
	if errno != 0 {
		return nil, errno
	}
	return p.events[:n], nil
}
