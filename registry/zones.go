package registry

import (
	"context"
	"fmt"
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
	var text string
	err = r.write(ctx, func(b *batch) error {
		known := *b.index.records.Load()
		text, serials = noteRecords(known, zones, uint32(b.index.serial.Load())+1)
		if text != known {
			b.add(SetRecords{Fingerprint: text})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.records.Store(&text)
	return serials, nil
}

// sameRecords returns nil unless another node has noted other records since this one
// did, as it does while servers are restarted one after the other. The serial is that
// of the other's zone then, and who had this one's with it would not see a difference.
func (r *Registry) sameRecords() error {
	if own := r.records.Load(); r.shared != nil && own != nil && *own != *r.index.Load().records.Load() {
		return ErrRecords
	}
	return nil
}

// noteRecords returns the text that is kept of zones: a line for each, of its
// name, its records and the serial since which it has them. next is that of zones
// that known does not have, or not with these records.
func noteRecords(known string, zones map[string]string, next uint32) (text string, serials map[string]uint32) {
	since := make(map[[2]string]uint32)
	for line := range strings.Lines(known) {
		var zone, records string
		var serial uint32
		if n, _ := fmt.Sscan(line, &zone, &records, &serial); n == 3 {
			since[[2]string{zone, records}] = serial
		}
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
