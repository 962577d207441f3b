package main

import (
	"fmt"
	"io"
	"iter"
	"strings"

	"cnamed/registry"
)

// tally counts what becomes of the accounts of an import.
type tally struct {
	Added     int         `json:"added"`
	Values    int         `json:"values"`          // of those
	Present   int         `json:"already_present"` // and equal
	Differing []differing `json:"differing"`
	Retired   []retired   `json:"retired"`
}

// differing is an account that was there already, and is not the same.
type differing struct {
	Username  string                `json:"username"`
	Subdomain string                `json:"subdomain"`
	In        []registry.Difference `json:"in"`
}

// retired is an account whose name was that of one that was deleted here.
type retired struct {
	Username  string `json:"username"`
	Subdomain string `json:"subdomain"`
}

func newTally() tally { return tally{Differing: []differing{}, Retired: []retired{}} }

// count counts the entries as if all were added; taken takes some back.
func (t *tally) count(entries iter.Seq2[*registry.Entry, error]) iter.Seq2[*registry.Entry, error] {
	return func(yield func(*registry.Entry, error) bool) {
		for e, err := range entries {
			if e != nil {
				t.Added++
				t.Values += len(e.Values)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (t *tally) taken(entry, stored *registry.Entry) error {
	t.Added--
	t.Values -= len(entry.Values)
	if stored == nil {
		t.Retired = append(t.Retired, retired{entry.Username.String(), strings.Clone(entry.Subdomain)})
		return nil
	}
	in := registry.Differences(entry, stored)
	if in == nil {
		t.Present++
		return nil
	}
	t.Differing = append(t.Differing, differing{entry.Username.String(), strings.Clone(entry.Subdomain), in})
	return nil
}

// shown is how many accounts of a kind are named to a person.
const shown = 10

// print says what became of them, or would of a dry run.
func (t *tally) print(out io.Writer, would, database string) {
	fmt.Fprintf(out, "  %s%simported into %s, with %s\n", count(t.Added), would, database, plural(t.Values, "value"))
	if t.Present > 0 {
		fmt.Fprintf(out, "  %sthere already, and the same\n", count(t.Present))
	}
	t.printDiffering(out)
	t.printRetired(out)
}

func (t *tally) printDiffering(out io.Writer) {
	if len(t.Differing) == 0 {
		return
	}
	fmt.Fprintf(out, "  %sthere already, but not the same, and left as they are here:\n", count(len(t.Differing)))
	for _, d := range t.Differing[:min(len(t.Differing), shown)] {
		in := make([]string, len(d.In))
		for i, what := range d.In {
			in[i] = string(what)
		}
		fmt.Fprintf(out, "      %s %s: another %s\n", d.Username, quote(d.Subdomain), strings.Join(in, ", "))
	}
	printMore(out, len(t.Differing))
}

func (t *tally) printRetired(out io.Writer) {
	if len(t.Retired) == 0 {
		return
	}
	fmt.Fprintf(out, "  %sleft out, for a name that was deleted here (cnamed account delete --release lifts that):\n", count(len(t.Retired)))
	for _, a := range t.Retired[:min(len(t.Retired), shown)] {
		fmt.Fprintf(out, "      %s %s\n", a.Username, quote(a.Subdomain))
	}
	printMore(out, len(t.Retired))
}

func printMore(out io.Writer, n int) {
	if n > shown {
		fmt.Fprintf(out, "      and %d more; --json lists them all\n", n-shown)
	}
}

func count(n int) string { return fmt.Sprintf("%-7d ", n) }
