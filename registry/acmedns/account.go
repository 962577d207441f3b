package acmedns

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"

	"cnamed/registry"
)

// newest is how many values of a name acme-dns serves.
const newest = 2

// Len returns the number of accounts.
func (d *Database) Len(ctx context.Context) (n int, err error) {
	if err := d.tx.QueryRowContext(ctx, `SELECT count(*) FROM records`).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting the accounts of acme-dns: %w", explain(err))
	}
	return n, nil
}

// Entries yields the accounts that can be kept, in the order of their
// usernames, each with its newest two values. An Entry is valid until the next.
// Accounts that cannot be kept, and whatever of the others is not as it should
// be, go to found. An error is the last that is yielded. created becomes the
// time of all accounts, since acme-dns keeps none.
func (d *Database) Entries(ctx context.Context, created time.Time, found func(Finding)) iter.Seq2[*registry.Entry, error] {
	return func(yield func(*registry.Entry, error) bool) {
		if err := d.walk(ctx, created, found, yield); err != nil {
			yield(nil, fmt.Errorf("reading the database of acme-dns: %w", explain(err)))
		}
	}
}

func (d *Database) walk(ctx context.Context, created time.Time, found func(Finding),
	yield func(*registry.Entry, error) bool) (err error) {
	owners, err := d.owners(ctx)
	if err != nil {
		return err
	}
	a := account{owners: owners, created: created, found: found}
	for next, err := range d.rows(ctx) {
		if err != nil {
			return err
		}
		if a.started && next.username != a.username {
			if entry := a.entry(); entry != nil && !yield(entry, nil) {
				return nil
			}
			a.started = false
		}
		a.add(next)
	}
	if a.started {
		if entry := a.entry(); entry != nil {
			yield(entry, nil)
		}
	}
	return nil
}

// query selects a row for each value, and one for an account without any. The
// rows of an account follow each other.
func (d *Database) query() string {
	if d.version == 0 {
		return `SELECT r.Username, r.Password, r.Subdomain, r.AllowFrom, r.Value, r.LastActive, 0
			FROM records r ORDER BY r.Username` + d.dialect.binary
	}
	return `SELECT r.Username, r.Password, r.Subdomain, r.AllowFrom, t.Value, t.LastUpdate, ` + d.rowid + `
		FROM records r LEFT JOIN txt t ON t.Subdomain = r.Subdomain AND t.Value <> ''
		ORDER BY r.Username` + d.dialect.binary
}

// owners finds subdomains that several accounts have, by another case perhaps,
// which DNS cannot tell apart, and all that are not in lower case. The result
// maps them, in lower case, to the username of the account that is kept: of the
// one in lower case, which is the only one that acme-dns answers for, or else of
// the first.
func (d *Database) owners(ctx context.Context) (kept map[string]string, err error) {
	// Not by the column alone, so that SQLite does not walk its index and look
	// up every account, to find that there is nothing to sort.
	rows, err := d.tx.QueryContext(ctx, `SELECT Username, Subdomain FROM records
		WHERE Subdomain <> lower(Subdomain`+d.dialect.binary+`)
		OR Subdomain IN (SELECT Subdomain FROM records GROUP BY Subdomain HAVING count(*) > 1)
		ORDER BY Username || ''`+d.dialect.binary)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	kept = make(map[string]string)
	for rows.Next() {
		var username, subdomain sql.NullString
		if err := rows.Scan(&username, &subdomain); err != nil {
			return nil, err
		}
		if lower := lowerASCII(subdomain.String); kept[lower] == "" {
			kept[lower] = username.String
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for lower := range kept {
		var username sql.NullString
		err := d.tx.QueryRowContext(ctx, `SELECT min(Username`+d.dialect.binary+`) FROM records WHERE Subdomain = $1`, lower).Scan(&username)
		if err != nil {
			return nil, err
		}
		if username.Valid {
			kept[lower] = username.String
		}
	}
	return kept, nil
}

// account collects the rows of one account.
type account struct {
	owners  map[string]string
	created time.Time
	found   func(Finding)

	started bool
	row
	values []dated
	others []Finding // with the same username

	kept registry.Entry // scratch
}

type dated struct {
	txt       string
	at, rowid int64
}

func (a *account) add(r *row) {
	if !a.started {
		a.started, a.row, a.values, a.others = true, *r, a.values[:0], a.others[:0]
	}
	if r.subdomain != a.subdomain || !bytes.Equal(r.password, a.password) {
		a.addOther(r)
		return
	}
	if r.value.String != "" {
		a.values = append(a.values, dated{r.value.String, r.at, r.rowid})
	}
}

// addOther notes an account of the same username, once, whatever it has of values.
func (a *account) addOther(r *row) {
	if !slices.ContainsFunc(a.others, func(f Finding) bool { return f.Subdomain == r.subdomain }) {
		a.others = append(a.others, Finding{Kind: SameUsername, Username: r.username, Subdomain: r.subdomain,
			Detail: "the username is that of another account, which is kept"})
	}
}

// entry returns the account as it is kept, or nil.
func (a *account) entry() *registry.Entry {
	for _, f := range a.others {
		a.found(f)
	}
	e := &a.kept
	e.Account = registry.Account{PasswordHash: a.password, Subdomain: a.subdomain, AllowFrom: e.AllowFrom[:0], Created: a.created}
	id, err := uuid.Parse(a.username)
	_, hashErr := bcrypt.Cost(a.password)
	owner, twin := a.owners[lowerASCII(a.subdomain)]
	switch {
	case err != nil || id.String() != a.username:
		// acme-dns looks it up in this form, whatever the client sent.
		a.tell(BadUsername, "no client can log in with the username")
		return nil
	case hashErr != nil:
		a.tell(BadPassword, "the password is no bcrypt hash, so that nobody can log in with it")
		return nil
	case twin && owner != a.username:
		a.tell(SameName, fmt.Sprintf("DNS cannot tell the subdomain from that of %q, which is kept", owner))
		return nil
	}
	e.Username = id
	a.setAllowFrom(e)
	a.setValues(e)
	if !e.Reachable() {
		a.tell(Unreachable, "the subdomain is no host name label, so that no update of it is taken, as before")
	}
	return e
}

// setAllowFrom reads the allow list. As acme-dns does, it passes over what is no
// prefix among others that are; but a list with nothing else locks the account,
// where acme-dns would let everybody in.
func (a *account) setAllowFrom(e *registry.Entry) {
	var list []string
	if err := json.Unmarshal([]byte(a.allowFrom.String), &list); err != nil || list == nil {
		e.Locked = true
		text := "NULL"
		if a.allowFrom.Valid {
			text = strconv.Quote(a.allowFrom.String)
		}
		a.tell(Locked, "AllowFrom is "+text+" and not a list")
		return
	}
	var bad []string
	for _, entry := range list {
		entry = unbracket.Replace(entry)
		if _, _, err := net.ParseCIDR(entry); err != nil {
			bad = append(bad, entry)
			continue
		}
		e.AllowFrom = append(e.AllowFrom, entry)
	}
	switch {
	case len(bad) == 0:
	case len(e.AllowFrom) == 0:
		e.Locked = true
		a.tell(Locked, fmt.Sprintf("AllowFrom is %q, and none of it is a CIDR prefix", list))
	default:
		a.tell(BadAllowFrom, fmt.Sprintf("%q in AllowFrom is no CIDR prefix and is left out, as acme-dns passes over it", bad))
	}
}

var unbracket = strings.NewReplacer("[", "", "]", "")

// setValues keeps the newest values, the oldest first.
func (a *account) setValues(e *registry.Entry) {
	slices.SortFunc(a.values, func(x, y dated) int {
		return cmp.Or(cmp.Compare(y.at, x.at), cmp.Compare(y.rowid, x.rowid))
	})
	e.Values = e.Values[:0]
	for _, v := range a.values {
		if v.at < 0 || v.at > math.MaxUint32 {
			v.at = 0
		}
		value := registry.Value{TXT: v.txt, At: time.Unix(v.at, 0)}
		switch {
		case !value.Valid():
			a.tell(BadValue, fmt.Sprintf("the value %q is none of a challenge and is left out", v.txt))
		case len(e.Values) < newest && !slices.ContainsFunc(e.Values, func(w registry.Value) bool { return w.TXT == v.txt }):
			e.Values = append(e.Values, value)
		}
	}
	slices.Reverse(e.Values)
}

// lowerASCII lowers the letters that DNS compares without regard to case, and
// no others, as lower() does in both databases.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
