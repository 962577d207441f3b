//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// updater changes values over the HTTP API at a rate, whatever the server takes:
// an open loop. After each 200 it asks for the name over UDP: the answer must
// have the value.
type updater struct {
	target   *target
	accounts []account
	rate     int
	workers  []*updateWorker

	done      atomic.Int64 // updates, over all runs: also the number of the next value
	unchecked atomic.Int64 // acknowledged, but no answer came
	old       atomic.Int64 // answers that were older than the update
	lost      atomic.Int64 // questions that had to be repeated

	mu    sync.Mutex
	took  []time.Duration // from when an update was due to its 200
	late  int             // sent later than lateBar
	worst time.Duration
	ran   time.Duration
	first error // an example of an old answer
}

func newUpdater(t *target, accounts []account, rate, clients int) *updater {
	u := &updater{target: t, accounts: accounts, rate: rate}
	for range clients {
		u.workers = append(u.workers, &updateWorker{updater: u})
	}
	return u
}

func (u *updater) close() {
	for _, w := range u.workers {
		w.close()
	}
}

// start updates until stop, which returns when all is answered.
func (u *updater) start(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, len(u.workers))
	began := time.Now()
	for i, w := range u.workers {
		group.Go(func() { errs[i] = w.run(ctx, began, &next) })
	}
	return func() error {
		cancel()
		group.Wait()
		u.ran += time.Since(began)
		return errors.Join(errs...)
	}
}

// report prints what the updates were, and fails if an answer was old.
func (u *updater) report() error {
	q := quantiles(u.took)
	fmt.Printf("\nUpdates: %d in %v, %.0f a second of %d offered; from due to 200: p50 %v, p90 %v, p99 %v, p99.9 %v, most %v.\n",
		len(u.took), u.ran.Round(time.Millisecond), float64(len(u.took))/u.ran.Seconds(), u.rate, short(q[0]), short(q[1]), short(q[2]), short(q[3]), short(q[4]))
	if u.late > 0 {
		fmt.Printf("The client could not keep up with %d of them: they were sent more than %v late, the worst %v.\n", u.late, lateBar, short(u.worst))
	}
	fmt.Printf("After each 200 the name was asked for over UDP: %d old answers, %d questions repeated, %d never answered.\n",
		u.old.Load(), u.lost.Load(), u.unchecked.Load())
	if n := u.old.Load(); n > 0 {
		return fmt.Errorf("%d answers were older than the acknowledged update, such as: %w", n, u.first)
	}
	if n := u.unchecked.Load(); n > 0 {
		return fmt.Errorf("%d names were not answered after their update", n)
	}
	return nil
}

// updateWorker is one client of the API, with a connection that it keeps, and
// one of DNS.
type updateWorker struct {
	*updater
	api    *apiClient
	dns    net.Conn
	buffer [4096]byte
}

func (w *updateWorker) close() {
	if w.api != nil {
		w.api.close()
	}
	if w.dns != nil {
		w.dns.Close()
	}
}

// run takes one update after the other and sends each when it is due.
func (w *updateWorker) run(ctx context.Context, began time.Time, next *atomic.Int64) (err error) {
	if w.api == nil {
		if err := w.dial(); err != nil {
			return err
		}
	}
	gap := float64(time.Second) / float64(w.rate)
	for {
		due := began.Add(time.Duration(float64(next.Add(1)-1) * gap))
		timer := time.NewTimer(time.Until(due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		n := int(w.done.Add(1) - 1)
		// Two workers never have the same account in hand: they would have to
		// be a whole round of all accounts apart.
		a := w.accounts[n%len(w.accounts)]
		value := fmt.Sprintf("value_of_update_%027d", n)
		late := time.Since(due)
		if err := w.api.update(a, value); err != nil {
			return fmt.Errorf("update %d: %w", n, err)
		}
		w.note(time.Since(due), late)
		if err := w.check(a, value); err != nil {
			return err
		}
	}
}

func (w *updateWorker) note(took, late time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took = append(w.took, took)
	w.worst = max(w.worst, late)
	if late > lateBar {
		w.late++
	}
}

func (w *updateWorker) dial() (err error) {
	if w.api, err = dialAPI(w.target.api); err != nil {
		return err
	}
	w.dns, err = net.Dial("udp", w.target.addr.String())
	return err
}

// check asks for the name until it is answered. A server may lose a datagram,
// but may not answer from the past.
func (w *updateWorker) check(a account, value string) error {
	m := new(dns.Msg).SetQuestion(a.Subdomain+"."+origin+".", dns.TypeTXT).SetEdns0(uint16(len(w.buffer)), false)
	for range 5 {
		reply, err := w.ask(m)
		switch {
		case err != nil:
			return err
		case reply == nil:
			w.lost.Add(1)
			continue
		case bytes.Contains(reply, []byte(value)): // which is in no other record
			return nil
		}
		var parsed dns.Msg
		if err := parsed.Unpack(reply); err != nil {
			return err
		}
		if parsed.Truncated {
			return fmt.Errorf("the answer for %s is truncated: use more -accounts", a.Subdomain)
		}
		w.old.Add(1)
		w.mu.Lock()
		w.first = fmt.Errorf("%s was acknowledged, but:\n%v", value, &parsed)
		w.mu.Unlock()
		return nil
	}
	w.unchecked.Add(1)
	return nil
}

// ask returns the reply, which is good until the next call, or nil without an
// error where none comes for a while.
func (w *updateWorker) ask(m *dns.Msg) ([]byte, error) {
	m.Id = dns.Id()
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	if _, err := w.dns.Write(wire); err != nil {
		return nil, err
	}
	if err := w.dns.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, err
	}
	for {
		n, err := w.dns.Read(w.buffer[:])
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if n >= 2 && binary.BigEndian.Uint16(w.buffer[:]) == m.Id {
			return w.buffer[:n], nil
		}
	}
}
