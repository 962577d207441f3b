package registry

import (
	"slices"
	"testing"
	"time"
)

func TestDifferencesOfAnImportedAccount(t *testing.T) {
	t.Parallel()
	bcrypt, other := []byte("$2a$10$Pq0FDVg/bwNK7Mknp.glwu"), []byte("$2a$10$ysqlmFae99B1JE/Ru.27dO")
	base := newEntry()
	base.PasswordHash, base.AllowFrom = bcrypt, []string{"192.0.2.0/24"}
	base.Values = []Value{{"a", time.Unix(1, 0)}, {"b", time.Unix(2, 0)}}
	for name, test := range map[string]struct {
		change func(stored *Entry)
		want   []Difference
	}{
		"the same":            {func(*Entry) {}, nil},
		"times only":          {func(e *Entry) { e.Values = []Value{{"a", time.Unix(3, 0)}, {"b", time.Unix(4, 0)}} }, nil},
		"logged in since":     {func(e *Entry) { e.PasswordHash = HashPassword("x") }, nil},
		"another password":    {func(e *Entry) { e.PasswordHash = other }, []Difference{DifferentPassword}},
		"another case":        {func(e *Entry) { e.Subdomain = "X" }, []Difference{DifferentSubdomain}},
		"another account":     {func(e *Entry) { e.Username[0]++; e.PasswordHash = other }, []Difference{DifferentUsername}},
		"open to all":         {func(e *Entry) { e.AllowFrom = nil }, []Difference{DifferentAllowFrom}},
		"locked":              {func(e *Entry) { e.Locked = true }, []Difference{DifferentAllowFrom}},
		"values came and two": {func(e *Entry) { e.Values = e.Values[1:]; e.Locked = true }, []Difference{DifferentAllowFrom, DifferentValues}},
	} {
		stored := base
		test.change(&stored)
		if got := Differences(&base, &stored); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
