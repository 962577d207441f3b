package dnsserver

import (
	"bytes"
	"slices"

	"github.com/miekg/dns"
)

// textChange is what changed at a name.
type textChange struct {
	label         string
	before, after []byte
}

// streamChanges writes what changed since a serial, RFC 1995 §4, as one step (§6: the steps between may be left out).
// done is false if that is not known, and then nothing was written.
func (z *Zone) streamChanges(w *transferWriter, since uint32) (done bool, err error) {
	history, ok := z.names.(History)
	if !ok {
		return false, nil
	}
	var changes []textChange
	now, known, err := history.Changes(since, func(label string, before, after []byte) {
		changes = append(changes, textChange{label, before, after})
	})
	if err != nil || !known {
		return false, err
	}
	w.style, w.serial = "changes", now
	if now == since {
		return true, w.end(now) // it changed back, or another transfer was faster
	}
	for _, serial := range []uint32{now, since} {
		if err := w.addSOA(serial); err != nil {
			return true, err
		}
	}
	for i := range changes {
		c := &changes[i]
		if err := z.eachGone(w, c.label, c.before, c.after); err != nil {
			return true, err
		}
	}
	if err := w.addSOA(now); err != nil {
		return true, err
	}
	for i := range changes {
		c := &changes[i]
		if err := z.eachGone(w, c.label, c.after, c.before); err != nil {
			return true, err
		}
	}
	return true, w.end(now)
}

// end writes the SOA that is the last record, and what is not sent yet.
func (w *transferWriter) end(serial uint32) error {
	if err := w.addSOA(serial); err != nil {
		return err
	}
	return w.flush()
}

// eachGone writes the TXT records of a label that are in one state and not in another.
func (z *Zone) eachGone(w *transferWriter, label string, in, notIn []byte) error {
	n := z.apex.children[label]
	if n == nil || n.set(dns.TypeTXT) == nil {
		return z.eachText(n, []byte(label), in, func(label, value []byte, ttl uint32) error {
			for other := range valueList(notIn).all() {
				if bytes.Equal(value, other) {
					return nil
				}
			}
			return w.addText(label, value, ttl)
		}, nil)
	}
	// The TTL of the static records depends on whether there are registered ones.
	there := z.texts(n, label, notIn)
	for _, rr := range z.texts(n, label, in) {
		if !slices.ContainsFunc(there, func(o dns.RR) bool { return rr.String() == o.String() }) {
			if err := w.add(rr); err != nil {
				return err
			}
		}
	}
	return nil
}

// texts returns the TXT records of a label.
func (z *Zone) texts(n *node, label string, values []byte) (rrs []dns.RR) {
	keep := func(rr dns.RR) error { rrs = append(rrs, rr); return nil }
	owner := n.sets[0].rrs[0].Header().Name
	_ = z.eachText(n, []byte(label), values, func(_, value []byte, ttl uint32) error {
		return keep(&dns.TXT{
			Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: ttl},
			Txt: appendStrings(nil, string(value)),
		})
	}, keep)
	return rrs
}
