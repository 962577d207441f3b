package dnsserver_test

import (
	"encoding/binary"
	"errors"
	"sync"

	"cnamed/dnsserver"
)

// names is a Names that tests fill by hand.
type names struct {
	mu     sync.Mutex
	values map[string][]string
	serial uint32
	broken bool
}

func newNames() *names {
	return &names{values: map[string][]string{dnsserver.ChallengeLabel: nil}, serial: 7}
}

func (n *names) set(label string, values ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.values[label] = values
	n.serial++
}

func (n *names) AppendTXT(dst, label []byte) ([]byte, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.broken {
		return dst, false, errors.New("broken on purpose")
	}
	values, ok := n.values[string(label)]
	for _, value := range values {
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(value))), value...)
	}
	return dst, ok, nil
}

func (n *names) Serial() uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serial
}
