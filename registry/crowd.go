package registry

const (
	// For more than enough writes no commit waits: of what it costs itself, the
	// part of each is small then.
	enough = 16
	// More writers are looked for after so many commits: leastPause where the last
	// look found some, and twice the pause before, up to mostPause, where not.
	leastPause, mostPause = 8, 64
)

// crowd says how many writes a commit waits for: as many as the last one had.
//
// Writers that are few and come again once they are answered thus share one
// commit, instead of taking turns in two, which takes them no longer. That
// there are more, who do not wait for each other, shows when twice as many are
// waited for now and then.
//
// The zero value waits for none. A crowd is for one goroutine.
type crowd struct {
	size  int // of the last commit
	pause int // commits from one look for more writers to the next
	left  int // commits until the next
	was   int // the size before the look under way; 0: there is none
}

// expects returns how many writes are to be waited for, before a commit. After a
// lone write, the first is enough.
func (c *crowd) expects() int {
	if c.size < 2 || c.size >= enough {
		return min(c.size, enough)
	}
	if c.left > 0 {
		c.left--
		return c.size
	}
	c.was = c.size
	return min(2*c.size, enough)
}

// saw is told how many writes the commit had.
func (c *crowd) saw(n int) {
	c.size = n
	if c.was == 0 {
		return
	}
	c.pause = min(max(2*c.pause, leastPause), mostPause)
	if n > c.was {
		c.pause = leastPause
	}
	c.was, c.left = 0, c.pause
}
