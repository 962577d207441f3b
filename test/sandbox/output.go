package main

import (
	"bytes"
	"io"
	"os"
)

// prefixed returns a writer that shows whose lines they are.
func prefixed(who string) io.Writer { return linePrefix("   [" + who + "] ") }

type linePrefix string

func (p linePrefix) Write(b []byte) (int, error) {
	_, err := os.Stdout.Write(append([]byte(p), bytes.TrimLeft(b, " ")...))
	return len(b), err
}
