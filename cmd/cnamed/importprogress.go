package main

import (
	"fmt"
	"iter"
	"time"

	"cnamed/registry"
)

// paced says how far something long is, at most once a second, and nothing of
// what is done within the first.
type paced struct {
	talk  func(format string, args ...any)
	now   func() time.Time
	last  time.Time // zero: not begun
	spoke bool
}

func newPaced(talk func(string, ...any)) *paced { return &paced{talk: talk, now: time.Now} }

// say says it, unless it is too early.
func (p *paced) say(format string, args ...any) {
	now := p.now()
	if p.last.IsZero() {
		p.last = now
	}
	if now.Sub(p.last) >= time.Second {
		p.talk(format, args...)
		p.last, p.spoke = now, true
	}
}

// follow describes how far an import is.
func (p *paced) follow(entries iter.Seq2[*registry.Entry, error], describe func(done int) string) iter.Seq2[*registry.Entry, error] {
	return func(yield func(*registry.Entry, error) bool) {
		p.last = p.now()
		done := 0
		for e, err := range entries {
			if !yield(e, err) {
				return
			}
			done++
			if p.now().Sub(p.last) >= time.Second {
				p.say("%s", describe(done))
			}
		}
		if p.spoke {
			p.talk("all accounts are read, writing the rest to the disk")
		}
	}
}

// ofAll describes a number of accounts of a total.
func ofAll(total int) func(done int) string {
	return func(done int) string {
		return fmt.Sprintf("%d of %d accounts (%d %%)", done, total, 100*done/max(total, 1))
	}
}
