package registry

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Filter chooses accounts. The zero value chooses all.
type Filter struct {
	// Match is a part of the username, the subdomain, the note or an entry of
	// the allow list, without regard to case.
	Match string
	// UnusedSince chooses accounts that were last of use (see Details.Used)
	// before that time.
	UnusedSince time.Time
}

// Cursor is a place between two accounts in the list of all. 0 is the start, and
// where a page begins that is not there.
type Cursor uint64

const (
	listStep = 256      // records that are looked at under one lock
	listPage = 64 << 10 // records that are looked at for one page
)

// List returns accounts from a place on, at most limit, and the place of the
// next page; 0 says that there is none. A page may be short, or empty, and not
// be the last. The order means nothing, but is kept: an account that is there
// throughout is on one page, unless the registry has to be loaded again
// meanwhile. The memory is that of a page, whatever the number of accounts.
func (r *Registry) List(after Cursor, limit int, f Filter) (page []Details, next Cursor) {
	x := r.index.Load()
	f.Match = strings.ToLower(f.Match)
	shard, n := int(min(after>>32, shardCount)), uint32(after)
	for seen := 0; shard < shardCount; {
		if seen >= listPage || len(page) >= limit {
			return page, Cursor(shard)<<32 | Cursor(n)
		}
		s := &x.names[shard]
		s.mu.RLock()
		end := min(n+listStep, s.records.len)
		for ; n < end && len(page) < limit; n++ {
			seen++
			if s.records.at(n).face.flags()&isFree == 0 && f.chooses(x, s, n) {
				page = append(page, x.detailsAt(s, n))
			}
		}
		if n >= s.records.len {
			shard, n = shard+1, 0
		}
		s.mu.RUnlock()
	}
	return page, 0
}

// chooses is for record n of s, which the caller has locked.
func (f *Filter) chooses(x *index, s *nameShard, n uint32) bool {
	if !f.UnusedSince.IsZero() && s.lastUse(n) >= unixSeconds(f.UnusedSince) {
		return false
	}
	if f.Match == "" {
		return true
	}
	rec := s.records.at(n)
	for _, text := range append(x.allow.entries(rec.allow), s.subdomain(n), rec.user.String(), s.notes[n]) {
		if strings.Contains(strings.ToLower(text), f.Match) {
			return true
		}
	}
	return false
}

// Prune deletes those of the accounts that were last of use before a time, which
// it finds out in the moment of the deletion, and returns them. Accounts that are
// not there are none of them. Errors: those of a write; what was pruned before is
// returned beside it.
func (r *Registry) Prune(ctx context.Context, usernames []uuid.UUID, before time.Time) (pruned []uuid.UUID, err error) {
	for len(usernames) > 0 {
		part := usernames[:min(len(usernames), maxBatch)]
		usernames = usernames[len(part):]
		var gone []uuid.UUID
		err := r.write(ctx, func(b *batch) error {
			gone = nil // it may be planned again
			for _, u := range part {
				if d, ok := b.index.details(u); ok && b.fates[u] == 0 && d.Used().Before(before) {
					b.remove(u, d.Subdomain)
					gone = append(gone, u)
				}
			}
			return nil
		})
		if err != nil {
			return pruned, err
		}
		pruned = append(pruned, gone...)
	}
	return pruned, nil
}
