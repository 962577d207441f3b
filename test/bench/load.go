//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// load sends queries to a server and counts the answers.
type load struct {
	server  netip.AddrPort
	queries [][]byte // wire form; the id is overwritten
	sockets int
	rate    int // a second in all; 0: as many as are answered
	window  int // queries of a socket in flight, where there is no rate
}

// loadResult is what one run of a load found.
type loadResult struct {
	sent, answered uint64
	elapsed        time.Duration
}

func (r loadResult) perSecond() float64 { return float64(r.answered) / r.elapsed.Seconds() }

// run sends for the given time.
func (l load) run(ctx context.Context, duration time.Duration) (loadResult, error) {
	var sent, answered atomic.Uint64
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var group sync.WaitGroup
	errs := make([]error, l.sockets)
	start := time.Now()
	for i := range l.sockets {
		group.Go(func() { errs[i] = l.socket(ctx, &sent, &answered) })
	}
	group.Wait()
	return loadResult{sent.Load(), answered.Load(), time.Since(start)}, errors.Join(errs...)
}

// socket is one client: a sender at a rate, or one that keeps a window full.
func (l load) socket(ctx context.Context, sent, answered *atomic.Uint64) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(l.server.Port()), Addr: l.server.Addr().As4()}); err != nil {
		return err
	}
	// Lost datagrams, which UDP has under load, must not stall the window.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}); err != nil {
		return err
	}
	if l.rate > 0 {
		return l.atRate(ctx, fd, sent, answered)
	}
	return l.closedLoop(ctx, fd, sent, answered)
}

func (l load) closedLoop(ctx context.Context, fd int, sent, answered *atomic.Uint64) error {
	out, in := newBatch(false), newBatch(false)
	random := rand.New(rand.NewPCG(uint64(fd), 1))
	flight := 0
	for ctx.Err() == nil {
		for flight < l.window {
			n := min(batchSize, l.window-flight)
			if err := l.send(fd, out, random, n); err != nil {
				return err
			}
			sent.Add(uint64(n))
			flight += n
		}
		n, err := in.receive(fd)
		switch {
		case err == unix.EAGAIN:
			flight = 0
		case err != nil && err != unix.EINTR:
			return fmt.Errorf("receiving: %w", err)
		default:
			answered.Add(uint64(n))
			flight = max(0, flight-n)
		}
	}
	return nil
}

func (l load) atRate(ctx context.Context, fd int, sent, answered *atomic.Uint64) error {
	received := make(chan error, 1)
	go func() { received <- l.receiveAll(ctx, fd, answered) }()
	out := newBatch(false)
	random := rand.New(rand.NewPCG(uint64(fd), 2))
	perSocket := float64(l.rate) / float64(l.sockets)
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	start, done := time.Now(), 0
	for ctx.Err() == nil {
		due := int(time.Since(start).Seconds()*perSocket) - done
		for due > 0 {
			n := min(batchSize, due)
			if err := l.send(fd, out, random, n); err != nil {
				return errors.Join(err, <-received)
			}
			done, due = done+n, due-n
			sent.Add(uint64(n))
		}
		<-ticks.C
	}
	return <-received
}

func (l load) receiveAll(ctx context.Context, fd int, answered *atomic.Uint64) error {
	in := newBatch(false)
	for {
		n, err := in.receive(fd)
		switch {
		case err == unix.EAGAIN:
			if ctx.Err() != nil {
				return nil
			}
		case err != nil && err != unix.EINTR:
			return fmt.Errorf("receiving: %w", err)
		default:
			answered.Add(uint64(n))
		}
	}
}

func (l load) send(fd int, out *batch, random *rand.Rand, n int) error {
	for i := range n {
		query := l.queries[random.IntN(len(l.queries))]
		size := copy(out.buffers[i][:], query)
		id := random.Uint32()
		out.buffers[i][0], out.buffers[i][1] = byte(id>>8), byte(id)
		out.setLen(i, size)
	}
	return out.send(fd, n)
}
