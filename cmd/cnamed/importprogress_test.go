package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cnamed/registry"
)

func TestProgressOfAnImport(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		each time.Duration // an account takes
		want []string
	}{
		{time.Millisecond, nil},
		{400 * time.Millisecond, []string{"3 of 4 accounts (75 %)", "all accounts are read, writing the rest to the disk"}},
		{time.Minute, []string{"1 of 4 accounts (25 %)", "2 of 4 accounts (50 %)", "3 of 4 accounts (75 %)", "4 of 4 accounts (100 %)",
			"all accounts are read, writing the rest to the disk"}},
	} {
		var said []string
		now := time.Unix(0, 0)
		p := newPaced(func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
		p.now = func() time.Time { return now }
		n := 0
		for range p.follow(func(yield func(*registry.Entry, error) bool) {
			for range 4 {
				if !yield(&registry.Entry{}, nil) {
					return
				}
			}
		}, ofAll(4)) {
			n++
			now = now.Add(test.each)
		}
		if n != 4 || !slices.Equal(said, test.want) {
			t.Errorf("%v each: %d accounts, said %q, want %q", test.each, n, said, test.want)
		}
	}
}
