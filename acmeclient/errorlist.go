package acmeclient

import (
	"errors"
	"slices"
	"strings"
	"sync"
)

// errorList collects the failures of independent parts. It is safe for concurrent use.
type errorList struct {
	mu   sync.Mutex
	list []error
}

// add takes lists apart, so that they do not nest.
func (l *errorList) add(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if several, ok := err.(allErrors); ok {
		l.list = append(l.list, several...)
		return
	}
	l.list = append(l.list, err)
}

// err returns nil, the only error, or all of them. Errors that come from one cause and read the same are said once.
func (l *errorList) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.list)
	slices.SortStableFunc(all, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	all = slices.CompactFunc(all, func(a, b error) bool { return a.Error() == b.Error() })
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return allErrors(all)
}

// allErrors are several errors in one line.
type allErrors []error

func (e allErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap makes each of them visible to errors.Is and errors.As.
func (e allErrors) Unwrap() []error { return e }

// Hint joins the different hints of all.
func (e allErrors) Hint() string {
	var hints []string
	for _, err := range e {
		var h interface{ Hint() string }
		if errors.As(err, &h) && h.Hint() != "" && !slices.Contains(hints, h.Hint()) {
			hints = append(hints, h.Hint())
		}
	}
	return strings.Join(hints, "; ")
}
