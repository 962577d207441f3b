package dnsserver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"
)

// history is a Names that remembers every state that it had.
type history struct {
	*names
	states  map[uint32]map[string][]byte
	changed chan struct{}
	during  func() // called in the middle of a snapshot
	forget  bool
}

func newHistory() *history {
	h := &history{names: newNames(), states: make(map[uint32]map[string][]byte), changed: make(chan struct{})}
	h.keep()
	return h
}

func (h *history) set(label string, values ...string) {
	h.names.set(label, values...)
	h.keep()
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *history) keep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	state := make(map[string][]byte)
	for label, values := range h.values {
		for _, value := range values {
			state[label] = append(binary.BigEndian.AppendUint16(state[label], uint16(len(value))), value...)
		}
	}
	h.states[h.serial] = state
}

func (h *history) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

func (h *history) Snapshot(_ context.Context, begin func(uint32) error, each func(label, values []byte) error) error {
	h.mu.Lock()
	serial, during := h.serial, h.during
	state := h.states[serial]
	h.mu.Unlock()
	if err := begin(serial); err != nil {
		return err
	}
	for i, label := range slices.Sorted(maps.Keys(state)) {
		if during != nil && i == len(state)/2 {
			during()
		}
		if err := each([]byte(label), state[label]); err != nil {
			return err
		}
	}
	return nil
}

func (h *history) Changes(since uint32, each func(label string, before, after []byte)) (uint32, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, known := h.states[since]
	if !known || h.forget {
		return h.serial, false, nil
	}
	after := h.states[h.serial]
	labels := maps.Clone(before)
	maps.Copy(labels, after)
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if !bytes.Equal(before[label], after[label]) {
			each(label, before[label], after[label])
		}
	}
	return h.serial, true, nil
}
