package dnsserver_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// signatures checks the TSIG of replies on one connection, each by what came before it in its own sequence.
type signatures struct {
	macs  map[uint16]string // by ID: of the request, then of the last message
	later map[uint16]bool
}

// sendSigned is send for a request that is signed.
func (s *signatures) send(t testing.TB, c net.Conn, id uint16, m *dns.Msg) {
	t.Helper()
	m.Id = id
	request, mac := sign(t, m.SetTsig(testKey, dns.HmacSHA256, 300, time.Now().Unix()), testSecret, nil)
	s.macs[id] = mac
	if _, err := (&dns.Conn{Conn: c}).Write(request); err != nil {
		t.Fatal(err)
	}
}

func (s *signatures) read(t testing.TB, c net.Conn) *dns.Msg {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(timeout))
	wire, err := (&dns.Conn{Conn: c}).ReadMsgHeader(nil)
	if err != nil {
		t.Fatalf("reading a reply: %v", err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	if err := dns.TsigVerify(wire, base64.StdEncoding.EncodeToString([]byte(testSecret)), s.macs[m.Id], s.later[m.Id]); err != nil {
		t.Errorf("the signature of %d: %v", m.Id, err)
	}
	s.macs[m.Id], s.later[m.Id] = m.IsTsig().MAC, true
	return m
}

// TestQueriesPassATransfer: RFC 7766 §6.2.1.1 and §7. What is asked behind a transfer, on its connection, is answered between
// its messages, and the rest of them follow.
func TestQueriesPassATransfer(t *testing.T) {
	t.Parallel()
	h, entered, let := waiting(manyNames)
	server := start(t, &dnsserver.Server{
		Keys: keyring(t), Zones: dnsserver.NewZoneSet(transferZone(t, h, dnsserver.Peer{Key: testKey})),
	})
	c := dial(t, server)
	sigs := &signatures{macs: make(map[uint16]string), later: make(map[uint16]bool)}
	sigs.send(t, c, 1, axfr("auth.example.org."))
	const queries = 50
	for id := range uint16(queries) {
		sigs.send(t, c, 2+id, new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA))
	}
	wait(t, entered)
	var got arrival
	next := uint16(2) // the queries keep their order
	reply := func() {
		t.Helper()
		m := sigs.read(t, c)
		switch {
		case m.Id == 1:
			got.add(m)
		case m.Id != next || len(m.Answer) != 1 || m.Answer[0].Header().Rrtype != dns.TypeA:
			t.Fatalf("want the reply %d, got %v", next, m)
		default:
			next++
		}
	}
	for next < 2+queries {
		reply()
	}
	sigs.send(t, c, next, new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA))
	for next == 2+queries {
		reply()
	}
	if got.records == 0 || got.soas != 1 {
		t.Errorf("%d records and %d SOA before the rest", got.records, got.soas)
	}
	// While the rest comes too.
	let <- struct{}{}
	for id := range uint16(queries) {
		sigs.send(t, c, next+id, new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA))
	}
	for last := next + queries; next < last || got.soas < 2; {
		reply()
	}
	if whole := manyNames + 15; got.records != whole {
		t.Errorf("%d records, want %d", got.records, whole)
	}
}

// TestTransfersOfAConnectionAreInTurn: one at a time, and none is refused for that; the queries behind each are answered.
func TestTransfersOfAConnectionAreInTurn(t *testing.T) {
	t.Parallel()
	h, _, _ := waiting(manyNames)
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(transferZone(t, h, loopback...)), MaxTransfers: 1})
	var under, most atomic.Int32
	h.during = func() {
		if n := under.Add(1); n > most.Load() {
			most.Store(n)
		}
		exchange(t, "tcp", server.String(), "www.auth.example.org.", dns.TypeA)
		under.Add(-1)
	}
	c := dial(t, server)
	const transfers = 5
	for i := range uint16(transfers) {
		send(t, c, 2*i, axfr("auth.example.org."))
		send(t, c, 2*i+1, new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA))
	}
	var got [transfers]arrival
	for current, answered := uint16(0), 0; current < transfers || answered < transfers; {
		m := readReply(t, c)
		if m.Rcode != dns.RcodeSuccess || len(m.Answer) == 0 || m.Id >= 2*transfers || m.Id%2 == 0 && m.Id != 2*current {
			t.Fatalf("while transfer %d is under way: %v", current, m)
		}
		if m.Id%2 == 1 {
			answered++
		} else if got[current].add(m); got[current].soas == 2 {
			current++
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d transfers at a time", most.Load())
	}
}

// TestTransferIsNotIdle: the client waits for it, and has all the idle time after it.
func TestTransferIsNotIdle(t *testing.T) {
	t.Parallel()
	const idle = 200 * time.Millisecond
	h, entered, let := waiting(manyNames)
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(transferZone(t, h, loopback...)), IdleTimeout: idle})
	c := dial(t, server)
	send(t, c, 1, axfr("auth.example.org."))
	wait(t, entered)
	var got arrival
	ask := func() {
		t.Helper()
		send(t, c, 2, new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA))
		for {
			m := readReply(t, c)
			if m.Id == 2 {
				return
			}
			got.add(m)
		}
	}
	ask()
	for range 3 {
		expectClosed(t, dial(t, server)) // that was idle for long enough
	}
	ask()
	half := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, newNames())), IdleTimeout: idle / 2})
	expectClosed(t, dial(t, half)) // so that what the server waits for is not of now
	ended := time.Now()
	let <- struct{}{}
	got.rest(t, c, 1)
	expectClosed(t, c)
	if stayed := time.Since(ended); stayed < idle {
		t.Errorf("closed %v after the transfer", stayed)
	}
}

// TestHalfClosedConnectionGetsItsTransfer, although nobody reads any more what comes in. What was asked before it and behind
// it does not wait, not even for the first message.
func TestHalfClosedConnectionGetsItsTransfer(t *testing.T) {
	t.Parallel()
	h, entered, let := waiting(2)
	server := start(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(transferZone(t, h, loopback...)), IdleTimeout: time.Hour})
	c := dial(t, server)
	ask := query(t, 1, "www.auth.example.org.", dns.TypeA)
	transfer := query(t, 2, "auth.example.org.", dns.TypeAXFR)
	c.Write(slices.Concat(ask, transfer, ask))
	c.(*net.TCPConn).CloseWrite()
	wait(t, entered)
	for range 2 {
		if m := readReply(t, c); m.Id != 1 || len(m.Answer) != 1 {
			t.Errorf("%v", m)
		}
	}
	let <- struct{}{}
	new(arrival).rest(t, c, 2)
	expectClosed(t, c)
}

// TestTransferThatFailsEndsItsConnection: the client has no other way to know. It can ask again on another.
func TestTransferThatFailsEndsItsConnection(t *testing.T) {
	t.Parallel()
	h, entered, let := waiting(manyNames)
	server := start(t, &dnsserver.Server{
		Zones: dnsserver.NewZoneSet(transferZone(t, failing{h}, loopback...)), IdleTimeout: time.Hour, MessageTimeout: time.Hour,
	})
	for _, more := range [][]byte{nil, {0}} { // of the next message
		c := dial(t, server)
		send(t, c, 1, axfr("auth.example.org."))
		send(t, c, 2, new(dns.Msg).SetQuestion("www.auth.example.org.", dns.TypeA))
		c.Write(more)
		wait(t, entered)
		for readReply(t, c).Id != 2 { // whose next message is waited for now
		}
		let <- struct{}{}
		expectClosed(t, c)
	}
}

// failing is a history whose snapshots fail in the end.
type failing struct{ *history }

func (f failing) Snapshot(ctx context.Context, begin func(uint32) error, each func(label, values []byte) error) error {
	return errors.Join(f.history.Snapshot(ctx, begin, each), errors.New("broken on purpose"))
}

// TestNothingFollowsATransferThatWasCutOff: neither the transfer that waits for its end nor the query behind that, of which
// the server has read both. Their replies would keep a client waiting for the rest of the first.
func TestNothingFollowsATransferThatWasCutOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		fail func() error
	}{
		{"error", func() error { return errors.New("broken on purpose") }},
		{"panic", func() error { panic("broken on purpose") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, entered, let := waiting(manyNames)
			var first sync.Once
			during := h.during
			h.during = func() { first.Do(during) }
			server := start(t, &dnsserver.Server{
				Zones:       dnsserver.NewZoneSet(transferZone(t, &failingFirst{history: h, fail: c.fail}, loopback...)),
				IdleTimeout: time.Hour, MessageTimeout: time.Hour,
			})
			conn := dial(t, server)
			conn.Write(slices.Concat(
				query(t, 1, "auth.example.org.", dns.TypeAXFR), query(t, 2, "www.auth.example.org.", dns.TypeA),
				query(t, 3, "auth.example.org.", dns.TypeAXFR), query(t, 4, "www.auth.example.org.", dns.TypeA),
			))
			wait(t, entered)
			for readReply(t, conn).Id != 2 { // which is written when the second transfer was read, too
			}
			let <- struct{}{}
			for {
				conn.SetReadDeadline(time.Now().Add(timeout))
				m, err := (&dns.Conn{Conn: conn}).ReadMsg()
				if isTimeout(err) {
					t.Fatal("the connection is still open")
				} else if err != nil {
					return
				}
				if m.Id != 1 || m.Rcode != dns.RcodeSuccess {
					t.Fatalf("behind a transfer that was cut off: ID %d, %s", m.Id, dns.RcodeToString[m.Rcode])
				}
			}
		})
	}
}

// failingFirst is a history whose first snapshot fails in the end.
type failingFirst struct {
	*history
	fail  func() error
	later atomic.Bool
}

func (f *failingFirst) Snapshot(ctx context.Context, begin func(uint32) error, each func(label, values []byte) error) error {
	if f.later.Swap(true) {
		return f.history.Snapshot(ctx, begin, each)
	}
	return errors.Join(f.history.Snapshot(ctx, begin, each), f.fail())
}

// TestTransferThatNobodyReadsIsCutOff, and nothing follows half a message of it.
func TestTransferThatNobodyReadsIsCutOff(t *testing.T) {
	t.Parallel()
	h, _, _ := waiting(manyNames)
	h.during = nil
	said := &awaited{text: "a transfer was cut off", seen: make(chan struct{})}
	server := start(t, &dnsserver.Server{
		Zones: dnsserver.NewZoneSet(transferZone(t, h, loopback...)), IdleTimeout: time.Hour, WriteTimeout: 50 * time.Millisecond,
		Log: textLog(said),
	})
	c := dial(t, server)
	for id := range uint16(100) { // 40 MB: more than the buffers between take
		send(t, c, id, axfr("auth.example.org."))
	}
	wait(t, said.seen)
	for id := uint16(0); ; {
		c.SetReadDeadline(time.Now().Add(timeout))
		wire, err := (&dns.Conn{Conn: c}).ReadMsgHeader(nil)
		if isTimeout(err) {
			t.Fatal("the connection is still open")
		} else if err != nil {
			return
		}
		var m dns.Msg
		if err := m.Unpack(wire); err != nil || m.Id < id || m.Id > id+1 {
			t.Fatalf("behind messages of transfer %d: %v", id, err)
		}
		id = m.Id
	}
}

// awaited is a log in which a text is waited for.
type awaited struct {
	text string
	seen chan struct{}
	once sync.Once
}

func (a *awaited) Write(line []byte) (int, error) {
	if strings.Contains(string(line), a.text) {
		a.once.Do(func() { close(a.seen) })
	}
	return len(line), nil
}
