package dnsserver

import (
	"context"
	"errors"
	"log/slog"

	"github.com/miekg/dns"
)

const defaultMaxTransfers = 4

// History is what Names also are where their zone is transferred to secondaries. In all of it a name without values and
// one that does not exist are the same: a transfer has no way to tell them apart.
type History interface {
	Names
	// Snapshot calls begin with a serial, and then each for every name that had values at that serial, with them as
	// AppendTXT gives them, while Names go on to change. What is passed is good during the call. The first error of
	// either is returned.
	Snapshot(ctx context.Context, begin func(serial uint32) error, each func(label, values []byte) error) error
	// Changes calls each for the names whose values now differ from those at a serial, with both, which may be kept. now
	// is the serial that it means by that. known is false for a serial from which the way is not known.
	Changes(since uint32, each func(label string, before, after []byte)) (now uint32, known bool, err error)
	// Changed returns a channel that is closed when Serial moves after the call.
	Changed() <-chan struct{}
}

// transfer answers an AXFR or IXFR question about a name that is in z. Where there is more than one record to tell, it
// sends the messages itself, and q.sent counts them.
func (s *Server) transfer(z *Zone, q *query, request []byte, from Client) error {
	switch {
	case !z.allows(from.Addr.Addr(), q.signature.key):
		q.refuse(dns.RcodeRefused, dns.ExtendedErrorCodeProhibited, "this zone is not transferred to you")
		return nil
	case !q.name.equal(&z.origin):
		// RFC 5936 §2.2.1
		q.refuse(dns.RcodeNotAuth, dns.ExtendedErrorCodeNotAuthoritative, "no zone begins at this name")
		return nil
	case q.qtype == dns.TypeIXFR && !q.serial.present:
		q.refuse(dns.RcodeFormatError, dns.ExtendedErrorCodeOther, "an IXFR needs the SOA that the client has")
		return nil
	case from.send == nil && q.qtype == dns.TypeAXFR:
		q.refuse(dns.RcodeRefused, dns.ExtendedErrorCodeProhibited, "AXFR needs TCP") // RFC 5936 §4.2
		return nil
	case z.unreadable(q):
		// Nor that there is nothing new: the client asks another server.
		q.refuseUnread()
		return nil
	case q.qtype == dns.TypeIXFR && (from.send == nil || !newer(z.serial(), q.serial.value)):
		// RFC 1995 §2: what does not fit, and the client who has it all, gets the SOA.
		q.authoritative = true
		q.answer = append(q.answer, q.soaRecord(z, z.soa.Hdr.Ttl))
		return nil
	}
	end := from.send.begin()
	if end == nil {
		return errSend
	}
	defer end()
	release := s.beginTransfer()
	if release == nil {
		q.refuse(dns.RcodeServerFailure, dns.ExtendedErrorCodeNotReady, "too many transfers are under way")
		return nil
	}
	defer release()
	w := newTransferWriter(z, q, request, from.send)
	cut := true // by a panic, too
	defer func() {
		if cut && w.sent > 0 {
			from.send.cut() // before the next transfer on the connection begins
		}
	}()
	err := z.stream(w, q)
	// Where the sender did not take it, it knows itself; one that ends in good order still answers what was read.
	cut = err != nil && !errors.Is(err, errSend)
	q.sent = w.sent
	if err != nil && w.sent == 0 && !errors.Is(err, errSend) {
		q.refuse(dns.RcodeServerFailure, dns.ExtendedErrorCodeNotReady, "the zone cannot be transferred now")
		s.log().Warn("a transfer cannot be made", "zone", z.Origin(), "client", from.Addr.String(), "err", err)
		return nil
	}
	if err != nil {
		s.log().Warn("a transfer was cut off", "zone", z.Origin(), "client", from.Addr.String(), "octets", w.sent, "err", err)
		return err
	}
	level := slog.LevelInfo
	if w.style == "changes" {
		level = slog.LevelDebug // as often as there are some
	}
	s.log().Log(context.Background(), level, "transferred", "zone", z.Origin(), "client", from.Addr.String(), "type", dns.Type(q.qtype).String(),
		"style", w.style, "serial", w.serial, "messages", w.messages, "octets", w.sent)
	return nil
}

// unreadable says that Names cannot tell now what is registered.
func (z *Zone) unreadable(q *query) bool {
	if z.names == nil {
		return false
	}
	_, err := q.ask(z.names, []byte(ChallengeLabel))
	return err != nil
}

// stream writes the differences to what the client has, if it asked for them and they are known, else the whole zone.
func (z *Zone) stream(w *transferWriter, q *query) error {
	if q.qtype == dns.TypeIXFR {
		if done, err := z.streamChanges(w, q.serial.value); done || err != nil {
			return err
		}
	}
	w.style = "whole"
	return z.streamAll(w)
}

// beginTransfer returns what ends a transfer, or nil if there are too many.
func (s *Server) beginTransfer() (release func()) {
	if int(s.transfers.Add(1)) > orDefault(s.MaxTransfers, defaultMaxTransfers) {
		s.transfers.Add(-1)
		return nil
	}
	return func() { s.transfers.Add(-1) }
}

// newer says whether serial a is after b, RFC 1982 §3.2.
func newer(a, b uint32) bool { return int32(a-b) > 0 }

// streamAll writes the zone as it is at one serial, RFC 5936 §2.2: between two copies of its SOA.
func (z *Zone) streamAll(w *transferWriter) error {
	mixed := z.mixed()
	begin := func(serial uint32) error {
		w.serial = serial
		if err := w.addSOA(serial); err != nil {
			return err
		}
		return z.apex.each(func(n *node, set *rrset) error {
			for _, rr := range set.rrs {
				if mixed[n] != nil && set.rrtype() == dns.TypeTXT {
					break // below, since what is registered there is of the same set
				}
				if err := w.add(rr); err != nil {
					return err
				}
			}
			return nil
		})
	}
	history, ok := z.names.(History)
	if !ok {
		if err := begin(z.serial()); err != nil {
			return err
		}
	} else {
		seen := make(map[*node]bool, len(mixed))
		err := history.Snapshot(context.Background(), begin, func(label, values []byte) error {
			n := z.apex.children[string(label)]
			seen[n] = true
			return z.eachText(n, label, values, w.addText, w.add)
		})
		if err != nil {
			return err
		}
		for n, label := range mixed {
			if seen[n] {
				continue
			}
			if err := z.eachText(n, []byte(*label), nil, w.addText, w.add); err != nil {
				return err
			}
		}
	}
	if err := w.addSOA(w.serial); err != nil {
		return err
	}
	return w.flush()
}

// mixed returns the nodes at which static TXT records can be of one set with registered ones, with their labels.
func (z *Zone) mixed() map[*node]*string {
	nodes := make(map[*node]*string)
	if z.names == nil {
		return nodes
	}
	for label, n := range z.apex.children {
		if n.set(dns.TypeTXT) != nil && !n.cut {
			nodes[n] = &label
		}
	}
	return nodes
}

// eachText calls text or static for each TXT record of a label one below the origin, as query.answer makes them: n is its
// node in the static tree, nil for none.
func (z *Zone) eachText(n *node, label, values []byte, text func(label, value []byte, ttl uint32) error, static func(dns.RR) error) error {
	ttl := z.ttl
	if n != nil {
		if n.cut || n.set(dns.TypeCNAME) != nil {
			return nil
		}
		if set := n.set(dns.TypeTXT); set != nil {
			if len(values) > 0 {
				ttl = min(ttl, set.rrs[0].Header().Ttl)
			} else {
				ttl = set.rrs[0].Header().Ttl
			}
			for _, rr := range set.rrs {
				if rr.Header().Ttl != ttl {
					rr = dns.Copy(rr)
					rr.Header().Ttl = ttl
				}
				if err := static(rr); err != nil {
					return err
				}
			}
		}
	}
	// A label that is a wildcard here would be one for all names at the secondary; nobody can register it.
	if len(label) == 0 || len(label) > maxLabelSize || string(label) == wildcardLabel {
		return nil
	}
	for value := range valueList(values).all() {
		if err := text(label, value, ttl); err != nil {
			return err
		}
	}
	return nil
}

// each visits the sets of n and of what is below it.
func (n *node) each(visit func(*node, *rrset) error) error {
	for i := range n.sets {
		if err := visit(n, &n.sets[i]); err != nil {
			return err
		}
	}
	for _, child := range n.children {
		if err := child.each(visit); err != nil {
			return err
		}
	}
	return nil
}
