package main

import (
	"iter"
	"time"

	"cnamed/registry"
)

// importProgress says how far a long import is, at most once a second, and
// nothing of one that is done within the first.
type importProgress struct {
	total int
	say   func(format string, args ...any)
	now   func() time.Time
}

func newImportProgress(total int, say func(string, ...any)) *importProgress {
	return &importProgress{total: total, say: say, now: time.Now}
}

func (p *importProgress) follow(entries iter.Seq2[*registry.Entry, error]) iter.Seq2[*registry.Entry, error] {
	return func(yield func(*registry.Entry, error) bool) {
		last, done := p.now(), 0
		spoke := false
		for e, err := range entries {
			if !yield(e, err) {
				return
			}
			done++
			if now := p.now(); now.Sub(last) >= time.Second {
				p.say("%d of %d accounts (%d %%)", done, p.total, 100*done/max(p.total, 1))
				last, spoke = now, true
			}
		}
		if spoke {
			p.say("all accounts are read, writing the rest to the disk")
		}
	}
}
