package sqlite

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

// recentRow is a row of the table recent, a change of the values of an account, or of
// newcomers: the begin of an account.
type recentRow struct {
	seq      int64 // order of arrival, from zone.seq
	username uuid.UUID
	kind     kind
	value    string
	at       int64 // unix seconds
}

// kind is what a row says. The numbers are in the database, but for those that are in
// memory only.
type kind int64

const (
	void           kind = 0 // in memory: of an account that was deleted
	valueSet       kind = 1
	valueDropped   kind = 2 // if its time is that of the row
	accountDeleted kind = 3 // rows before this one are of an account that was
	valueGone      kind = 4 // in memory: dropped, whatever its time
	accountCreated kind = 5 // in memory: a row of newcomers
)

// recent is the tables recent and newcomers in memory, but for what txt and accounts
// have taken in. The values of an account are those of txt, changed by moving and then
// by changes.
//
// txt can be ahead of that, as it is when a process ended while changes were on
// their way. It does no harm: to do the last changes of an account again, however
// many of them, comes to the same. Rows leave recent in the order of arrival, so that
// those which are left are the last; and those of newcomers leave before them, so that
// no account comes back whose end has left.
//
// What accounts says of a newcomer is newer than what newcomers does.
type recent struct {
	rows      int   // of both tables
	newest    int64 // the seq of the last
	changes   map[uuid.UUID][]recentRow
	newcomers map[uuid.UUID]int64 // that exist: their seq. Some may be in accounts as well.

	moving  []recentRow // on their way into accounts and txt, in the order of these; see settle
	through int64       // rows up to this seq leave after that; 0: none do
}

func newRecent() *recent {
	return &recent{changes: make(map[uuid.UUID][]recentRow), newcomers: make(map[uuid.UUID]int64)}
}

// add notes a row that comes after all others.
func (r *recent) add(row recentRow) {
	r.rows++
	r.newest = row.seq
	switch row.kind {
	case accountDeleted:
		r.forget(row.username)
	case accountCreated:
		r.newcomers[row.username] = row.seq
	default:
		r.change(row)
	}
}

// forget is for an account that was deleted.
func (r *recent) forget(username uuid.UUID) {
	delete(r.newcomers, username)
	delete(r.changes, username)
	moving := r.movingOf(username)
	for i := range moving {
		moving[i].kind = void
	}
}

// change notes a change of values.
func (r *recent) change(row recentRow) {
	list := r.changes[row.username]
	if len(list) == cap(list) && len(list) >= 16 {
		// Not all are needed. To look again is due when there are twice as many.
		list = compact(list)
		list = slices.Grow(list, len(list))
	}
	r.changes[row.username] = append(list, row)
}

// compact leaves out the changes of an account that do not matter after later ones,
// in the memory of list. What is left of one value does not depend on others.
func compact(list []recentRow) []recentRow {
	if len(list) < 2 {
		return list
	}
	last := make(map[string]int) // of the changes after which a value is known, whatever it was before
	for i, c := range list {
		if c.kind != valueDropped {
			last[c.value] = i
		}
	}
	kept := list[:0]
	place := make(map[string]int) // of those in kept
	for i, c := range list {
		j, known := last[c.value]
		switch {
		case !known:
			kept = append(kept, c)
		case i == j:
			place[c.value] = len(kept)
			kept = append(kept, c)
		case i > j && kept[place[c.value]].at == c.at:
			kept[place[c.value]].kind = valueGone
		}
	}
	return kept
}

// move puts all newcomers and changes on their way.
func (r *recent) move() {
	accounts := slices.AppendSeq(slices.Collect(maps.Keys(r.newcomers)), maps.Keys(r.changes))
	slices.SortFunc(accounts, compareUUIDs)
	r.moving = make([]recentRow, 0, len(accounts))
	for _, username := range slices.Compact(accounts) {
		if seq, ok := r.newcomers[username]; ok {
			r.moving = append(r.moving, recentRow{seq: seq, username: username, kind: accountCreated})
		}
		r.moving = append(r.moving, compact(r.changes[username])...)
	}
	r.changes, r.through = make(map[uuid.UUID][]recentRow), r.newest
}

func compareUUIDs(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

// moved is called when all that was on its way is in its place, and its rows have left.
func (r *recent) moved() {
	since := make(map[uuid.UUID]int64) // the old one would stay as large as it was
	for username, seq := range r.newcomers {
		if seq > r.through {
			since[username] = seq
		}
	}
	r.newcomers, r.moving, r.through = since, nil, 0
}

// movingOf returns the part of moving that is of an account.
func (r *recent) movingOf(username uuid.UUID) []recentRow {
	order := func(c recentRow, u uuid.UUID) int { return bytes.Compare(c.username[:], u[:]) }
	from, _ := slices.BinarySearchFunc(r.moving, username, order)
	to := from
	for to < len(r.moving) && r.moving[to].username == username {
		to++
	}
	return r.moving[from:to]
}

// applyTo changes the values that an account has in txt to those that it has, in any
// order.
func (r *recent) applyTo(list []valueRow, username uuid.UUID) []valueRow {
	moving, changes := r.movingOf(username), r.changes[username]
	if len(moving)+len(changes) == 0 {
		return list
	}
	values := make(map[string]valueRow)
	for _, v := range list {
		values[v.value.TXT] = v
	}
	for _, part := range [][]recentRow{moving, changes} {
		for _, c := range part {
			c.applyTo(values)
		}
	}
	return slices.AppendSeq(list[:0], maps.Values(values))
}

// owners returns the accounts that values were set of. Each of them exists.
func (r *recent) owners() map[uuid.UUID]bool {
	set := make(map[uuid.UUID]bool)
	note := func(list []recentRow) {
		for i := range list {
			if list[i].kind == valueSet {
				set[list[i].username] = true
			}
		}
	}
	note(r.moving)
	for _, list := range r.changes {
		note(list)
	}
	return set
}

func (c recentRow) applyTo(values map[string]valueRow) {
	switch c.kind {
	case valueSet:
		values[c.value] = valueRow{c.username, c.seq, registry.Value{TXT: c.value, At: time.Unix(c.at, 0)}}
	case valueDropped:
		if v, ok := values[c.value]; ok && v.value.At.Unix() == c.at {
			delete(values, c.value)
		}
	case valueGone:
		delete(values, c.value)
	}
}

// readRecent reads both tables from the database at path.
func readRecent(path string) (*recent, error) {
	c, err := openRaw(path)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.recent()
}

// recent reads both tables, side by side in the order of arrival.
func (c *rawConn) recent() (*recent, error) {
	created, err := c.rows("a newcomer", `SELECT seq, username FROM newcomers ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	defer created.close()
	changed, err := c.rows("a recent change", `SELECT seq, username, kind, value, set_at FROM recent ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	defer changed.close()
	newcomers, changes := newRows(created, (*cursor).readNewcomer), newRows(changed, (*cursor).readChange)
	r := newRecent()
	for row := first(newcomers, changes); row != nil; row = first(newcomers, changes) {
		if row.seq <= r.newest {
			return nil, fmt.Errorf("%w: a recent change with a seq of %d after %d", errDamaged, row.seq, r.newest)
		}
		if _, twice := r.newcomers[row.username]; twice && row.kind == accountCreated {
			return nil, fmt.Errorf("%w: account %v is created twice", errDamaged, row.username)
		}
		r.add(*row)
	}
	if err := cmp.Or(newcomers.err, changes.err); err != nil {
		return nil, err
	}
	return r, c.checkWaiting(r.rows)
}

// first takes the next of two that are in order, nil after the last or an error.
func first(a, b *rows[recentRow]) *recentRow {
	x, y := a.peek(), b.peek()
	switch {
	case a.err != nil || b.err != nil:
		return nil
	case y == nil || x != nil && x.seq < y.seq:
		return a.next()
	}
	return b.next()
}

// checkWaiting compares the rows of both tables with how many the zone says there are. A
// page that was damaged can look like one with fewer rows.
func (c *rawConn) checkWaiting(rows int) error {
	q, err := c.rows("the row of the zone", `SELECT waiting FROM zone`)
	if err != nil {
		return err
	}
	defer q.close()
	if q.next() && q.count(0) != rows && q.err == nil {
		return fmt.Errorf("%w: %d rows wait, and the zone has %d", errDamaged, rows, q.count(0))
	}
	return q.err
}

func (q *cursor) readNewcomer(row *recentRow) {
	*row = recentRow{seq: q.integer(0), kind: accountCreated}
	q.fixed(1, row.username[:])
}

func (q *cursor) readChange(row *recentRow) {
	*row = recentRow{seq: q.integer(0), kind: kind(q.integer(2)), value: q.text(3), at: q.integer(4)}
	q.fixed(1, row.username[:])
	if row.kind < valueSet || row.kind > accountDeleted {
		q.odd(2)
	}
}
