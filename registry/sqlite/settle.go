package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"cnamed/registry"
)

const (
	// mostRecent is how many rows are let come together in recent and newcomers, until
	// they are moved. In memory each takes some 200 octets.
	mostRecent = 1 << 16
	// For a commit that only probes the store, this part of them is enough: there is
	// room then when many come.
	quietPart = 8

	// A commit moves so many rows for each that it brings, and when all are moved so
	// many leave: more than come, so that it ends.
	movedForEach, removedForEach = 2, 16
	// However many a commit brings, it does not do more than for so many: others wait.
	// Few commits bring more, and no more than that come together.
	mostBrought = 2048
	// A probe of the store, for which nobody or a health check waits, does as if it
	// brought so many.
	broughtQuietly = 64
)

// settled is what a transaction does of it.
type settled struct {
	moved, gone int // rows into accounts and txt, and rows that left recent and newcomers
	ends        bool
}

// settle moves some accounts and changes to where they stay, in the open transaction
// that brings so many others, or only probes the store: quiet. They go in the order of
// accounts and txt, so that they share pages, and bit by bit, so that no commit takes
// long; only the one that begins it sorts them all. It can end anywhere: what is left is
// done by another transaction, or another process.
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
		if err := d.settleRow(ctx, c); err != nil {
			return err
		}
	}
	if d.settled.moved < len(r.moving) {
		return nil
	}
	most := removedForEach * brings
	for _, remove := range []*sql.Stmt{d.removeNewcomers, d.removeRecent} {
		result, err := remove.ExecContext(ctx, r.through, most-d.settled.gone-1)
		if err != nil {
			return err
		}
		gone, err := result.RowsAffected()
		if err != nil {
			return err
		}
		if d.settled.gone += int(gone); d.settled.gone == most {
			return nil
		}
	}
	d.settled.ends = true
	return nil
}

// settleRow does in accounts or txt what a row says.
func (d *database) settleRow(ctx context.Context, c recentRow) (err error) {
	switch c.kind {
	case accountCreated:
		_, err = d.settleNewcomer.ExecContext(ctx, c.seq)
	case valueSet:
		err = d.setValue(ctx, c)
		if errors.Is(refusal(0, err), registry.ErrNotFound) {
			err = nil // the value of no account: damage to Load, and nothing to wait for in a server that runs
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

// rowOf returns the row that a mutation leaves, if it is one of values, or the begin
// or the end of an account.
func rowOf(m registry.Mutation) (row recentRow, ok bool) {
	switch m := m.(type) {
	case registry.CreateAccount:
		return recentRow{username: m.Username, kind: accountCreated}, true
	case registry.PutValue:
		return recentRow{username: m.Username, kind: valueSet, value: m.TXT, at: m.At.Unix()}, true
	case registry.DropValue:
		return recentRow{username: m.Username, kind: valueDropped, value: m.TXT, at: m.At.Unix()}, true
	case registry.DeleteAccount:
		return recentRow{username: m.Username, kind: accountDeleted}, true
	}
	return row, false
}

// arrive writes the row that a mutation leaves. That the account exists, or does not
// yet, is not looked up, which would read other pages for each: the registry knows.
func (d *database) arrive(ctx context.Context, row recentRow, m registry.Mutation) (err error) {
	if create, ok := m.(registry.CreateAccount); ok {
		err = insertAccount(ctx, d.addNewcomer, &create.Account, row.seq)
	} else {
		_, err = d.addRecent.ExecContext(ctx, row.seq, row.username[:], int64(row.kind), row.value, row.at)
	}
	d.arrived = append(d.arrived, row)
	switch row.kind {
	case accountCreated:
		d.born[row.username] = row.seq
	case accountDeleted:
		d.born[row.username] = 0
	}
	return err
}

// settleFirst moves an account into accounts, if it is a newcomer, so that it can be
// changed there in the open transaction.
func (d *database) settleFirst(ctx context.Context, username uuid.UUID) error {
	seq, changed := d.born[username]
	if !changed {
		seq = d.recent.newcomers[username]
	}
	if seq == 0 {
		return nil
	}
	_, err := d.settleNewcomer.ExecContext(ctx, seq)
	return err
}

// keepUp has the memory follow a transaction that is durable.
func (d *database) keepUp() {
	r := d.recent
	r.moving = r.moving[d.settled.moved:]
	r.rows -= d.settled.gone
	if d.settled.ends {
		r.moved()
	}
	for _, row := range d.arrived {
		r.add(row)
	}
	d.forget()
}

// forget is for a transaction that came to nothing.
func (d *database) forget() {
	clear(d.arrived) // of strings
	clear(d.born)
	d.arrived, d.settled = d.arrived[:0], settled{}
}
