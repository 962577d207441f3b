package sqlite

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

// recentRow is a row of the table recent: a change of the values of an account.
type recentRow struct {
	seq      int64 // order of arrival, from zone.seq
	username uuid.UUID
	kind     kind
	value    string
	at       int64 // unix seconds
}

// kind is what a row says. The numbers are in the database.
type kind int64

const (
	void           kind = 0 // in memory only: of an account that was deleted
	valueSet       kind = 1
	valueDropped   kind = 2 // if its time is that of the row
	accountDeleted kind = 3 // rows before this one are of an account that was
	valueGone      kind = 4 // in memory only: dropped, whatever its time
)

// recent is the table recent in memory, but for what the table txt has taken in. The
// values of an account are those of txt, changed by moving and then by changes.
//
// txt can be ahead of that, as it is when a process ended while changes were on
// their way. It does no harm: to do the last changes of an account again, however
// many of them, comes to the same. Rows leave the table in the order of arrival, so
// that those which are left are the last.
type recent struct {
	rows    int   // of the table
	newest  int64 // the seq of the last
	changes map[uuid.UUID][]recentRow

	moving  []recentRow // on their way into txt, in its order; see settle
	through int64       // rows up to this seq leave the table after that; 0: none do
}

// add notes a row that comes after all others.
func (r *recent) add(row recentRow) {
	r.rows++
	r.newest = row.seq
	if row.kind == accountDeleted {
		delete(r.changes, row.username)
		moving := r.movingOf(row.username)
		for i := range moving {
			moving[i].kind = void
		}
		return
	}
	if r.changes == nil {
		r.changes = make(map[uuid.UUID][]recentRow)
	}
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

// move puts all changes on their way into txt.
func (r *recent) move() {
	accounts := slices.SortedFunc(maps.Keys(r.changes), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	r.moving = make([]recentRow, 0, len(accounts))
	for _, username := range accounts {
		r.moving = append(r.moving, compact(r.changes[username])...)
	}
	r.changes, r.through = nil, r.newest
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

// readRecent reads the table from the database at path.
func readRecent(path string) (*recent, error) {
	c, err := openRaw(path)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.recent()
}

// recent reads the table.
func (c *rawConn) recent() (*recent, error) {
	q, err := c.rows("a recent change", `SELECT seq, username, kind, value, set_at FROM recent ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	defer q.close()
	r := &recent{}
	for q.next() {
		row := recentRow{seq: q.integer(0), kind: kind(q.integer(2)), value: q.text(3), at: q.integer(4)}
		q.fixed(1, row.username[:])
		if row.seq <= r.newest {
			q.odd(0)
		}
		if row.kind < valueSet || row.kind > accountDeleted {
			q.odd(2)
		}
		if q.err != nil {
			break
		}
		r.add(row)
	}
	return r, q.err
}
