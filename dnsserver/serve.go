package dnsserver

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	defaultMaxConns          = 1024
	defaultMaxConnsPerClient = 128
	defaultIdleTimeout       = 10 * time.Second
	defaultMessageTimeout    = 2 * time.Second
	defaultWriteTimeout      = 5 * time.Second
)

// past is a deadline that wakes whoever reads.
var past = time.Unix(1, 0)

// Serve answers on the endpoints until ctx ends. Then it accepts nothing more, finishes the queries that it has read,
// waits for all its goroutines and returns nil. An error is about a socket that is lost for good; what can pass (a lack
// of memory or file descriptors, an unreachable client) is logged and waited out. Serve closes the endpoints.
//
// On Linux a goroutine for each core keeps a P of the scheduler to itself while queries come in over UDP; it yields every
// ten milliseconds. A program that does more than that wants a larger GOMAXPROCS, set after Listen.
func (s *Server) Serve(ctx context.Context, endpoints ...*Endpoint) error {
	if len(endpoints) == 0 {
		return errors.New("no address to serve DNS on")
	}
	defer func() {
		for _, e := range endpoints {
			e.Close()
		}
	}()
	for _, e := range endpoints {
		if err := e.open(s.plain); err != nil {
			return err
		}
	}
	conns := newConnSet(orDefault(s.MaxConns, defaultMaxConns), orDefault(s.MaxConnsPerClient, defaultMaxConnsPerClient))
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		for _, socket := range e.packets {
			for range socket.readers {
				group.Go(func() error { return s.servePackets(ctx, socket) })
			}
		}
		for _, listener := range e.listeners {
			group.Go(func() error { return s.acceptConns(ctx, listener, conns) })
		}
	}
	s.notifyAll(ctx, endpoints, group.Go)
	group.Go(func() error {
		<-ctx.Done()
		for _, e := range endpoints {
			e.interrupt()
		}
		conns.drain()
		return nil
	})
	err := group.Wait()
	conns.wait()
	return err
}

func orDefault[T int | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}

// backoff waits between attempts at something that fails for now, so that a loop neither ends nor spins.
type backoff struct{ delay time.Duration }

// wait returns false when ctx has ended.
func (b *backoff) wait(ctx context.Context) bool {
	b.delay = min(max(2*b.delay, time.Millisecond), time.Second)
	timer := time.NewTimer(b.delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (b *backoff) first() bool { return b.delay == 0 }

func (b *backoff) reset() { b.delay = 0 }
