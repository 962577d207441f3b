package sqlite

const (
	rowsAhead   = 512 // read at once
	blocksAhead = 3   // of so many rows
)

// rows are those of a cursor, in Go's memory, which is used again. They can be
// read ahead by a goroutine of their own, which close ends.
type rows[T any] struct {
	cursor *cursor
	read   func(*cursor, *T)
	block  []T
	at     int
	last   bool  // there is no block after this one
	err    error // what ended the reading; nil: these are all

	full  chan filled[T] // nil: nothing is read ahead
	empty chan []T
}

// filled is a block of rows.
type filled[T any] struct {
	rows []T
	last bool
	err  error // behind them
}

func newRows[T any](q *cursor, read func(*cursor, *T)) *rows[T] {
	return &rows[T]{cursor: q, read: read}
}

// ahead starts to read.
func (r *rows[T]) ahead() {
	r.full, r.empty = make(chan filled[T], blocksAhead), make(chan []T, blocksAhead)
	for range blocksAhead {
		r.empty <- nil
	}
	go func() {
		defer close(r.full)
		for block := range r.empty {
			f := r.fill(block)
			r.full <- f // there is room for all blocks
			if f.last {
				return
			}
		}
	}()
}

// fill reads rows into the memory of block, or new memory if it has none.
func (r *rows[T]) fill(block []T) filled[T] {
	if cap(block) == 0 {
		block = make([]T, rowsAhead)
	}
	block = block[:cap(block)]
	for i := range block {
		if r.cursor.next() {
			r.read(r.cursor, &block[i])
			if r.cursor.err == nil {
				continue
			}
		}
		return filled[T]{block[:i], true, r.cursor.err}
	}
	return filled[T]{rows: block}
}

// peek returns the next row without going on, or nil at the end or an error.
func (r *rows[T]) peek() *T {
	if r.at == len(r.block) {
		if r.last {
			return nil
		}
		r.turn()
		if len(r.block) == 0 {
			return nil
		}
	}
	return &r.block[r.at]
}

// next returns the next row, which is good until the one after it is asked for, or
// nil.
func (r *rows[T]) next() *T {
	row := r.peek()
	if row != nil {
		r.at++
	}
	return row
}

// turn takes the next block in the place of the one that was used up.
func (r *rows[T]) turn() {
	var f filled[T]
	if r.full == nil {
		f = r.fill(r.block)
	} else {
		f = <-r.full
		r.empty <- r.block
	}
	r.block, r.at, r.last, r.err = f.rows, 0, f.last, f.err
}

// close ends the reading, and the cursor.
func (r *rows[T]) close() {
	if r.full != nil {
		close(r.empty)
		for range r.full {
		}
	}
	r.cursor.close()
}
