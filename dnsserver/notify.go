package dnsserver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

const (
	// notifyPause is between two NOTIFY to one server, so that a flood of changes becomes a few.
	notifyPause = 100 * time.Millisecond
	// notifyFirst and notifyLast bound the wait for a reply, which doubles. RFC 1996 §3.6 has longer ones, from a time
	// in which a refresh could wait for a minute.
	notifyFirst = 250 * time.Millisecond
	notifyLast  = 2 * time.Second
	notifyTries = 60
)

// A Secondary is a server that is told of changes, RFC 1996.
type Secondary struct {
	Addr netip.AddrPort
	Key  string // the name of the key that signs; "": none
}

// secondary is a Secondary made ready.
type secondary struct {
	addr netip.AddrPort
	key  *name
}

// notifyAll tells the secondaries of all zones of changes until ctx ends.
func (s *Server) notifyAll(ctx context.Context, endpoints []*Endpoint, start func(func() error)) {
	for _, z := range s.Zones.zones {
		for _, to := range z.notify {
			n := &notifier{server: s, zone: z, to: to, source: sourceFor(to.addr.Addr(), endpoints)}
			start(func() error { n.run(ctx); return nil })
		}
	}
}

// sourceFor returns the address to send from: one that the server answers on, since secondaries know it by that. nil
// leaves it to the routing table.
func sourceFor(to netip.Addr, endpoints []*Endpoint) *net.UDPAddr {
	for _, e := range endpoints {
		if a := e.Addr().Addr(); a.IsValid() && !a.IsUnspecified() && a.Is4() == to.Is4() && a.IsLoopback() == to.IsLoopback() {
			return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
		}
	}
	return nil
}

// notifier tells one server of the changes of one zone.
type notifier struct {
	server *Server
	zone   *Zone
	to     secondary
	source *net.UDPAddr
	silent bool // the server did not reply the last time
}

// run sends a NOTIFY at once, since the zone can have changed while nobody was here to tell (RFC 1996 §4.3), and then
// for each change. Changes that come while one is on its way are told together afterwards.
func (n *notifier) run(ctx context.Context) {
	for ctx.Err() == nil {
		changed := n.zone.changed()
		serial := n.zone.serial()
		n.tell(ctx, serial, changed)
		if !pause(ctx, notifyPause) {
			return
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// changed returns a channel that is closed when the serial moves; nil if it never does.
func (z *Zone) changed() <-chan struct{} {
	if history, ok := z.names.(History); ok {
		return history.Changed()
	}
	return nil
}

// tell repeats one NOTIFY at growing intervals until the server confirms it, or there is another change to tell. It gives
// up after two minutes: the server looks for itself when it starts, and at its refresh interval.
func (n *notifier) tell(ctx context.Context, serial uint32, changed <-chan struct{}) {
	wait := notifyFirst
	for try := range notifyTries {
		early, err := n.attempt(ctx, serial, wait)
		if err == nil {
			if n.silent {
				n.log("a secondary confirms changes again", serial, nil)
			}
			n.silent = false
			return
		}
		if ctx.Err() != nil {
			return
		}
		if !n.silent && try >= 2 {
			n.silent = true
			n.log("a secondary does not confirm a change; trying on", serial, err)
		}
		if early && !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, notifyLast)
		select {
		case <-changed:
			return
		default:
		}
	}
}

func (n *notifier) log(msg string, serial uint32, err error) {
	args := []any{"zone", n.zone.Origin(), "secondary", n.to.addr.String(), "serial", serial}
	if err != nil {
		n.server.log().Warn(msg, append(args, "err", err)...)
		return
	}
	n.server.log().Info(msg, args...)
}

// attempt sends a NOTIFY and waits for its reply. early says that it failed before the wait was over.
func (n *notifier) attempt(ctx context.Context, serial uint32, wait time.Duration) (early bool, err error) {
	request, mac, k, err := n.request(serial)
	if err != nil {
		return true, err
	}
	conn, err := net.DialUDP("udp", n.source, net.UDPAddrFromAddrPort(n.to.addr))
	if err != nil {
		return true, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(past) })()
	conn.SetDeadline(time.Now().Add(wait))
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	if _, err := conn.Write(request); err != nil {
		return true, err
	}
	reply := make([]byte, 4096)
	for {
		size, err := conn.Read(reply)
		if err != nil {
			timeout, ok := err.(net.Error)
			return !ok || !timeout.Timeout(), err // nobody listens there, or no word came in time
		}
		if ours, err := n.check(reply[:size], request, mac, k); ours {
			return true, err
		}
	}
}

// request makes a NOTIFY, RFC 1996 §3.
func (n *notifier) request(serial uint32) (msg, mac []byte, k *key, err error) {
	soa := n.zone.soa
	soa.Serial = serial
	m := &dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: uint16(rand.Uint32()), Opcode: dns.OpcodeNotify, Authoritative: true},
		Question: []dns.Question{{Name: n.zone.Origin(), Qtype: dns.TypeSOA, Qclass: dns.ClassINET}},
		Answer:   []dns.RR{&soa}, // §3.7: a hint
	}
	if msg, err = m.Pack(); err != nil || n.to.key == nil {
		return msg, nil, nil, err
	}
	if k = n.server.Keys.find(n.to.key); k == nil {
		return nil, nil, nil, fmt.Errorf("the key of the secondary is not known")
	}
	t := &tsig{time: uint64(time.Now().Unix()), fudge: tsigFudge}
	mac = k.mac(nil, msg, t, false)
	return appendTSIG(msg, &k.name, &k.algorithm, t, mac), mac, k, nil
}

// check looks at what came back. ours is false for what is no reply to the request.
func (n *notifier) check(reply, sent, mac []byte, k *key) (ours bool, err error) {
	var r request
	if len(reply) < headerSize || string(reply[:2]) != string(sent[:2]) || reply[2]&0x80 == 0 {
		return false, nil
	}
	r.parse(reply)
	if r.opcode() != dns.OpcodeNotify {
		return false, nil
	}
	if code := int(r.bits & 0xF); code != dns.RcodeSuccess {
		return true, fmt.Errorf("the reply is %s", rcodeLabel(code))
	}
	if k == nil {
		return true, nil
	}
	// RFC 8945 §5.4: an unsigned reply to a signed request is nobody's.
	if r.malformed || !r.tsig.present {
		return false, nil
	}
	ring := &Keyring{keys: map[string]*key{string(k.name.wire[:k.name.size]): k}}
	if _, code := r.tsig.verify(ring, mac, reply, time.Now()); code != dns.RcodeSuccess {
		return false, nil
	}
	return true, nil
}

// pause returns false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
