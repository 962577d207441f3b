package dnsserver

import (
	"strings"
	"testing"
)

// TestLettersAreLowered puts each octet in each place of a name of more than eight, and of fewer.
func TestLettersAreLowered(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"aBc", "abcdefgHijkLmnoPqrsTu"} {
		for at := range text {
			for c := range 256 {
				label := text[:at] + string([]byte{byte(c)}) + text[at+1:]
				want := label
				if 'A' <= c && c <= 'Z' {
					want = label[:at] + string([]byte{byte(c) + 'a' - 'A'}) + label[at+1:]
				}
				want = strings.NewReplacer("B", "b", "H", "h", "L", "l", "P", "p", "T", "t").Replace(want)
				wire := string([]byte{byte(len(label))}) + label + "\x00"
				var n name
				end, ok := n.read([]byte("??"+wire+"X"), 2)
				if !ok || end != 2+len(wire) || string(n.label(0)) != want || n.size != len(wire) || n.labels != 1 {
					t.Errorf("%q became %q, %v", label, n.wire[:n.size], ok)
				}
			}
		}
	}
}

// TestNameThatCannotBeRead leaves nothing of itself, or of the one before.
func TestNameThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{"", "\x03abc", "\x03ab", "\x40" + strings.Repeat("a", 64) + "\x00", "\x01a\xc0\x00",
		strings.Repeat("\x3f"+strings.Repeat("a", 63), 4) + "\x00"} {
		n, err := parseName("www.example.org")
		if err != nil {
			t.Fatal(err)
		}
		if end, ok := n.read([]byte(wire), 0); ok || end != 0 || n.labels != 0 || string(n.suffix(0)) != "\x00" {
			t.Errorf("%q: %d, %v, %d labels, %q", wire, end, ok, n.labels, n.wire[:n.size])
		}
	}
}
