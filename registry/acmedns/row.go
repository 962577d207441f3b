package acmedns

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"strconv"
	"sync"
)

// row is one row of the query.
type row struct {
	username, subdomain string
	password            []byte
	allowFrom           sql.NullString
	value               sql.NullString
	at, rowid           int64
}

func (r *row) scan(rows *sql.Rows) error {
	var username, subdomain sql.NullString // in tables that lost their constraints
	var at, rowid any                      // SQLite takes anything into a column
	if err := rows.Scan(&username, &r.password, &subdomain, &r.allowFrom, &r.value, &at, &rowid); err != nil {
		return err
	}
	r.username, r.subdomain = username.String, subdomain.String
	r.at, r.rowid = integer(at), integer(rowid)
	return nil
}

// rows yields the rows of the query. They are read ahead, by a goroutine of its
// own, since who takes them is busy writing: of an import of a million accounts
// to read is half the work. It has ended when rows returns.
func (d *Database) rows(ctx context.Context) iter.Seq2[*row, error] {
	const batch, batches = 256, 8
	return func(yield func(*row, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		ahead := make(chan []row, batches)
		var failure error // before ahead is closed
		var reader sync.WaitGroup
		defer reader.Wait()
		defer cancel()
		reader.Go(func() {
			defer close(ahead)
			failure = d.read(ctx, batch, ahead)
		})
		for part := range ahead {
			for i := range part {
				if !yield(&part[i], nil) {
					return
				}
			}
		}
		if failure != nil {
			yield(nil, failure)
		}
	}
}

// read sends all rows, in parts.
func (d *Database) read(ctx context.Context, batch int, ahead chan<- []row) (err error) {
	rows, err := d.tx.QueryContext(ctx, d.query())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	part := make([]row, 0, batch)
	send := func() error {
		select {
		case ahead <- part:
			part = make([]row, 0, batch)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for rows.Next() {
		part = append(part, row{})
		if err := part[len(part)-1].scan(rows); err != nil {
			return err
		}
		if len(part) == batch {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return errors.Join(rows.Err(), send())
}

// integer reads what should be a number, and is 0 where it is none.
func integer(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	case []byte:
		return integer(string(v))
	default:
		return 0
	}
}
