package config

import (
	"errors"
	"fmt"
	"strings"
)

// Origin is where a value came from.
type Origin struct {
	// File, Line and Column (from 1, in bytes) are the place in a file.
	File         string
	Line, Column int

	// Name is the flag or the variable, where it was no file.
	Name string
}

func (o Origin) String() string {
	switch {
	case o.File != "" && o.Line > 0:
		return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
	case o.File != "":
		return o.File
	default:
		return o.Name
	}
}

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	Origin Origin
	Key    string // the setting, or empty where it is about the whole file
	Err    error
}

func (p *Problem) Error() string {
	parts := make([]string, 0, 3)
	if s := p.Origin.String(); s != "" {
		parts = append(parts, s)
	}
	if p.Key != "" && p.Origin.Name == "" {
		parts = append(parts, p.Key)
	}
	return strings.Join(append(parts, p.Err.Error()), ": ")
}

func (p *Problem) Unwrap() error { return p.Err }

// Hint returns what mends it, or nothing.
func (p *Problem) Hint() string {
	var h interface{ Hint() string }
	if errors.As(p.Err, &h) {
		return h.Hint()
	}
	return ""
}

// Problems are all the things that are wrong, in the order of the settings.
type Problems []*Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, e := range p {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find each problem.
func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i, e := range p {
		errs[i] = e
	}
	return errs
}

// Problem makes a problem out of an error that a user of the configuration found
// with value number index of a setting, and says where that value was given.
func (c *Config) Problem(key string, index int, err error) *Problem {
	p := &Problem{Key: key, Err: err}
	if at := c.origins[key]; index < len(at) {
		p.Origin = at[index]
	}
	return p
}

// didYouMean returns a hint that names the word nearest to a mistyped one, or
// lists them all where none is near.
func didYouMean(typed string, words []string) string {
	best, distance := "", 3
	for _, w := range words {
		if d := editDistance(typed, w); d < distance {
			best, distance = w, d
		}
	}
	if best == "" {
		return "one of: " + strings.Join(words, ", ")
	}
	return fmt.Sprintf("did you mean %s?", best)
}

// editDistance is the number of letters to insert, delete or replace to get
// from a to b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
