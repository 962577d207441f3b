package dnsserver_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// manyNames are some messages of a transfer.
const manyNames = 5000

// waiting is a history of so many names, whose snapshots wait in their middle until they are let go, each once.
func waiting(names int) (h *history, entered <-chan struct{}, let chan<- struct{}) {
	h = newHistory()
	for i := range names {
		h.names.set(fmt.Sprintf("%036d", i), fmt.Sprintf("%043d", i))
	}
	h.keep()
	in, out := make(chan struct{}), make(chan struct{})
	h.during = func() { in <- struct{}{}; <-out }
	return h, in, out
}

// send writes a request to a connection.
func send(t testing.TB, c net.Conn, id uint16, m *dns.Msg) {
	t.Helper()
	m.Id = id
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)); err != nil {
		t.Fatal(err)
	}
}

// arrival counts the records of a transfer, which has arrived with its second SOA. It takes them as they come.
type arrival struct{ records, soas int }

func (a *arrival) add(m *dns.Msg) {
	for _, rr := range m.Answer {
		if a.records++; rr.Header().Rrtype == dns.TypeSOA {
			a.soas++
		}
	}
}

// rest reads the messages of a transfer that are still to come.
func (a *arrival) rest(t testing.TB, c net.Conn, id uint16) {
	t.Helper()
	for a.soas < 2 {
		m := readReply(t, c)
		if m.Id != id || m.Rcode != dns.RcodeSuccess || len(m.Answer) == 0 {
			t.Fatalf("among the messages of a transfer: %v", m)
		}
		a.add(m)
	}
}

// wait waits for a snapshot to be in its middle.
func wait(t testing.TB, entered <-chan struct{}) {
	t.Helper()
	select {
	case <-entered:
	case <-time.After(timeout):
		t.Fatal("no transfer has begun")
	}
}

func TestMaxTransfers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ max, want int }{{1, 1}, {2, 2}, {0, 4}} {
		t.Run(fmt.Sprint(c.max), func(t *testing.T) {
			t.Parallel()
			h, entered, let := waiting(manyNames)
			server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(transferZone(t, h, loopback...)), MaxTransfers: c.max})
			var conns []net.Conn
			for i := range c.want {
				conns = append(conns, dial(t, server))
				send(t, conns[i], 1, axfr("auth.example.org."))
				wait(t, entered)
			}
			refused := dial(t, server)
			for _, m := range []*dns.Msg{axfr("auth.example.org."), ixfr("auth.example.org.", 1)} {
				send(t, refused, 2, m)
				if m := readReply(t, refused); m.Rcode != dns.RcodeServerFailure || len(m.Answer) > 0 {
					t.Errorf("one more: %v", m)
				}
			}
			for range conns {
				let <- struct{}{}
			}
			for _, conn := range conns {
				new(arrival).rest(t, conn, 1)
			}
			// There is room again, as soon as the server has seen the end of one.
			h.mu.Lock()
			h.during = nil
			h.mu.Unlock()
			for deadline := time.Now().Add(timeout); ; {
				rrs, err := transfer(t, server, axfr("auth.example.org."))
				if err == nil && len(rrs) > manyNames {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("afterwards: %d records, %v", len(rrs), err)
				}
			}
		})
	}
}

// TestDrainEndsTransfers: one would go on for as long as the client takes it. That it is not whole the client can tell.
func TestDrainEndsTransfers(t *testing.T) {
	t.Parallel()
	e, err := dnsserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h, entered, let := waiting(manyNames)
	stop := serve(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(transferZone(t, h, loopback...)), IdleTimeout: time.Hour}, e)
	idle, c := dial(t, e.Addr()), dial(t, e.Addr())
	send(t, c, 1, axfr("auth.example.org."))
	wait(t, entered)
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	expectClosed(t, idle) // now it drains
	select {
	case <-stopped:
		t.Error("Serve returned before the transfer had ended")
	default:
	}
	close(let)
	var got arrival
	for {
		c.SetReadDeadline(time.Now().Add(timeout))
		m, err := (&dns.Conn{Conn: c}).ReadMsg()
		if isTimeout(err) {
			t.Fatal("the connection is still open")
		} else if err != nil {
			break
		}
		got.add(m)
	}
	if got.soas != 1 || got.records > 3000 {
		t.Errorf("%d records and %d SOA after the end", got.records, got.soas)
	}
	<-stopped
}
