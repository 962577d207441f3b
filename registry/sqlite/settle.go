package sqlite

import (
	"context"
	"errors"

	"cnamed/registry"
)

const (
	// mostRecent is how many rows are let come together in recent, until they are
	// moved. In memory each takes some 200 octets.
	mostRecent = 1 << 16
	// For a commit that only probes the store, this part of them is enough: there is
	// room then when many come.
	quietPart = 8

	// A commit moves so many changes for each that it brings, and when all are moved
	// so many rows leave recent: more than come, so that it ends.
	movedForEach, removedForEach = 2, 4
	// However many a commit brings, it does not do more than for so many: others wait.
	mostBrought = 2048
	// A probe of the store, for which nobody or a health check waits, does as if it
	// brought so many.
	broughtQuietly = 64
)

// settled is what a transaction does of it.
type settled struct {
	moved, gone int // changes into txt, and rows from recent
	ends        bool
}

// settle moves some changes from recent into txt, in the open transaction that brings
// so many others, or only probes the store: quiet. They go in the order of txt, so that
// they share pages, and bit by bit, so that no commit takes long. It can end anywhere:
// what is left is done by another transaction, or another process.
func (d *database) settle(ctx context.Context, brings int, quiet bool) (err error) {
	limit, brings := d.mostRecent, min(brings, mostBrought)
	if quiet {
		limit, brings = limit/quietPart, broughtQuietly
	}
	r := d.recent
	if r.through == 0 && r.rows > limit && brings > 0 {
		r.move()
	}
	if r.through == 0 || brings == 0 {
		return nil
	}
	d.settled.moved = min(len(r.moving), movedForEach*brings)
	for _, c := range r.moving[:d.settled.moved] {
		if err := d.settleChange(ctx, c); err != nil {
			return err
		}
	}
	if d.settled.moved < len(r.moving) {
		return nil
	}
	most := removedForEach * brings
	result, err := d.removeRecent.ExecContext(ctx, r.through, most-1)
	if err != nil {
		return err
	}
	gone, err := result.RowsAffected()
	d.settled.gone, d.settled.ends = int(gone), int(gone) < most
	return err
}

// settleChange does a change in txt.
func (d *database) settleChange(ctx context.Context, c recentRow) (err error) {
	switch c.kind {
	case valueSet:
		err = d.setValue(ctx, c)
		if errors.Is(refusal(0, err), registry.ErrNotFound) {
			err = nil // the value of no account is none
		}
	case valueDropped:
		_, err = d.dropValue.ExecContext(ctx, c.username[:], c.value, c.at)
	case valueGone:
		_, err = d.removeValue.ExecContext(ctx, c.username[:], c.value)
	}
	return err
}

// setValue sets a value in txt.
func (d *database) setValue(ctx context.Context, c recentRow) error {
	_, err := d.putValue.ExecContext(ctx, c.username[:], c.value, c.seq, c.at)
	return err
}

// rowOf returns the row of recent that a mutation leaves, if it is one of values or
// the end of an account's.
func rowOf(m registry.Mutation) (row recentRow, ok bool) {
	switch m := m.(type) {
	case registry.PutValue:
		return recentRow{username: m.Username, kind: valueSet, value: m.TXT, at: m.At.Unix()}, true
	case registry.DropValue:
		return recentRow{username: m.Username, kind: valueDropped, value: m.TXT, at: m.At.Unix()}, true
	case registry.DeleteAccount:
		return recentRow{username: m.Username, kind: accountDeleted}, true
	}
	return row, false
}

// arrive writes a row of recent. That the account exists is not looked up, which
// would read another page for each: the registry knows.
func (d *database) arrive(ctx context.Context, row recentRow) error {
	_, err := d.addRecent.ExecContext(ctx, row.seq, row.username[:], int64(row.kind), row.value, row.at)
	d.arrived = append(d.arrived, row)
	return err
}

// keepUp has the memory follow a transaction that is durable.
func (d *database) keepUp() {
	r := d.recent
	r.moving = r.moving[d.settled.moved:]
	r.rows -= d.settled.gone
	if d.settled.ends {
		r.moving, r.through = nil, 0
	}
	for _, row := range d.arrived {
		r.add(row)
	}
	d.forget()
}

// forget is for a transaction that came to nothing.
func (d *database) forget() { d.arrived, d.settled = d.arrived[:0], settled{} }
