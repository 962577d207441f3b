package dnsserver_test

import (
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

func (n *names) AppendTXT(dst []string, label string) ([]string, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.broken {
		return dst, false, errors.New("broken on purpose")
	}
	values, ok := n.values[label]
	return append(dst, values...), ok, nil
}

func (n *names) Serial() uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serial
}
