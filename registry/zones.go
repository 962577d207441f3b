package registry

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// SetRecords notes which records zones have beside those of the registry, by the
// name of each zone and any text that differs when the records do. Both are one
// word. Serial moves if something is not as it was the last time, also in the
// last run.
//
// It returns a serial for each zone that moves with the zone's own records alone:
// that of a zone which has nothing of the registry. The store keeps them, so
// that they are the same for all that share it. Errors: those of a write.
func (r *Registry) SetRecords(ctx context.Context, zones map[string]string) (serials map[string]uint32, err error) {
	err = r.write(ctx, func(b *batch) error {
		known := *b.index.records.Load()
		var text string
		text, serials = noteRecords(known, zones, uint32(b.index.serial.Load())+1)
		if text != known {
			b.add(SetRecords{Fingerprint: text})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	own := maps.Clone(zones)
	r.records.Store(&own)
	r.warnOfRecords() // another node may have been faster
	return serials, nil
}

// sameRecords returns nil unless another node has noted other records since this one
// did, as it does while servers are restarted one after the other. The serial is that
// of the other's zone then, and who had this one's with it would not see a difference.
func (r *Registry) sameRecords() error {
	own := r.records.Load()
	if r.shared == nil || own == nil {
		return nil
	}
	newest := make(map[string]string)
	for n := range notedRecords(*r.index.Load().records.Load()) {
		newest[n.zone] = n.records
	}
	if !maps.Equal(newest, *own) {
		return ErrRecords
	}
	return nil
}

// warnOfRecords tells the operator.
func (r *Registry) warnOfRecords() {
	if err := r.sameRecords(); err != nil {
		r.log.Warn("the zone is transferred to nobody by this server until it is restarted with the same records", "err", err)
	}
}

// noted is a line of what SetRecords keeps: a zone, its records and the serial since
// which it has them.
type noted struct {
	zone, records string
	since         uint32
}

func notedRecords(text string) iter.Seq[noted] {
	return func(yield func(noted) bool) {
		for line := range strings.Lines(text) {
			var n noted
			if count, _ := fmt.Sscan(line, &n.zone, &n.records, &n.since); count == 3 && !yield(n) {
				return
			}
		}
	}
}

// noteRecords returns the text that is kept of zones. next is the serial of those
// that known does not have, or not with these records.
func noteRecords(known string, zones map[string]string, next uint32) (text string, serials map[string]uint32) {
	since := make(map[[2]string]uint32)
	for n := range notedRecords(known) {
		since[[2]string{n.zone, n.records}] = n.since
	}
	serials = make(map[string]uint32, len(zones))
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		serial, ok := since[[2]string{zone, zones[zone]}]
		if !ok {
			serial = next
		}
		serials[zone] = serial
		text += fmt.Sprintf("%s %s %d\n", zone, zones[zone], serial)
	}
	return text, serials
}
