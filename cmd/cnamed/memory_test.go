package main

import "testing"

func TestALargeServerHasLittleGarbage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ accounts, percent int }{
		{0, 400}, {10_000, 321}, {100_000, 112}, {500_000, 23}, {1_000_000, 8}, {10_000_000, 8},
	} {
		if got := garbagePercent(c.accounts); got != c.percent {
			t.Errorf("%d accounts: %d %%, want %d %%", c.accounts, got, c.percent)
		}
	}
}
