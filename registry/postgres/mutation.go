package postgres

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"cnamed/registry"
)

// queue adds the statement of a mutation: one for each, so that the number of one
// that fails is that of the mutation. seq orders the value that it puts.
func queue(b *pgx.Batch, m registry.Mutation, seq uint64) error {
	switch m := m.(type) {
	case registry.CreateAccount:
		b.Queue(`INSERT INTO accounts VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, id(m.Username), m.PasswordHash,
			m.Subdomain, allowFrom(&m.Account), seconds(m.Created), m.Note, seconds(m.Updated), seconds(m.Authenticated))
	case registry.PutValue:
		b.Queue(`INSERT INTO txt VALUES ($1, $2, $3, $4)
			ON CONFLICT (username, value) DO UPDATE SET seq = excluded.seq, set_at = excluded.set_at`,
			id(m.Username), m.TXT, int64(seq), seconds(m.At))
	case registry.DropValue:
		b.Queue(`DELETE FROM txt WHERE username = $1 AND value = $2 AND set_at = $3`, id(m.Username), m.TXT, seconds(m.At))
	case registry.ReplacePassword:
		b.Queue(`UPDATE accounts SET password_hash = $2 WHERE username = $1`, id(m.Username), m.PasswordHash)
	case registry.DeleteAccount:
		b.Queue(`DELETE FROM accounts WHERE username = $1`, id(m.Username))
	case registry.SetAllowFrom:
		b.Queue(`UPDATE accounts SET allow_from = $2 WHERE username = $1`, id(m.Username), list(m.AllowFrom))
	case registry.SetNote:
		b.Queue(`UPDATE accounts SET note = $2 WHERE username = $1`, id(m.Username), m.Note)
	case registry.MarkUsed:
		b.Queue(`UPDATE accounts SET updated = greatest(updated, $2), authenticated = greatest(authenticated, $3)
			WHERE username = $1`, id(m.Username), seconds(m.Updated), seconds(m.Authenticated))
	case registry.RetireName:
		b.Queue(`INSERT INTO retired VALUES ($1) ON CONFLICT DO NOTHING`, m.Name)
	case registry.ReleaseName:
		b.Queue(`DELETE FROM retired WHERE lower(name COLLATE "C") = lower($1::text COLLATE "C")`, m.Name)
	case registry.SetChallenges:
		b.Queue(`UPDATE zone SET challenges = $1`, list(m.Values))
	case registry.SetRecords:
		b.Queue(`UPDATE zone SET records = $1`, m.Fingerprint)
	case registry.CreateToken:
		b.Queue(`INSERT INTO tokens VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, tokenRow(&m.Token)...)
	case registry.RevokeToken:
		b.Queue(`DELETE FROM tokens WHERE id = $1`, m.ID)
	case registry.UseToken:
		// No row is a division by zero: the transaction ends before its COMMIT,
		// which is on its way already.
		b.Queue(`WITH used AS (UPDATE tokens SET uses = uses + 1, used = $2
			WHERE id = $1 AND (max_uses IS NULL OR uses < max_uses) RETURNING 1) SELECT 1 / count(*) FROM used`,
			m.ID, seconds(m.At))
	case registry.Probe:
		b.Queue(`UPDATE probe SET at = $1`, seconds(m.At))
	default:
		return fmt.Errorf("%w: a mutation of unknown type %T", registry.ErrStore, m)
	}
	return nil
}

// refusal turns the failure of the statement of one mutation into an error about
// that mutation.
func refusal(i int, err error) error {
	switch code(err) {
	case uniqueViolation:
		return &registry.MutationError{Index: i, Err: registry.ErrExists}
	case foreignKeyViolation, divisionByZero:
		return &registry.MutationError{Index: i, Err: registry.ErrNotFound}
	}
	return err
}

func id(u uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: true} }

// allowFrom returns the column allow_from: NULL for a locked account.
func allowFrom(a *registry.Account) []string {
	if a.Locked {
		return nil
	}
	return list(a.AllowFrom)
}

// list is never NULL.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

// tokenRow is a token in the columns of its table.
func tokenRow(t *registry.Token) []any {
	return []any{t.ID, t.Hash[:], t.Note, seconds(t.Created), orNull(t.Expires),
		sql.NullInt64{Int64: int64(t.MaxUses), Valid: t.MaxUses > 0}, int64(t.Uses), orNull(t.LastUsed)}
}

func orNull(t time.Time) sql.NullInt64 { return sql.NullInt64{Int64: t.Unix(), Valid: !t.IsZero()} }
