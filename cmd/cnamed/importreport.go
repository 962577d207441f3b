package main

import (
	"fmt"
	"io"
	"iter"
	"strings"

	"cnamed/acmeclient/certdir/durable"
	"cnamed/registry"
	"cnamed/registry/acmedns"
)

// imported is what an import did, or would do.
type imported struct {
	DryRun        bool              `json:"dry_run"`
	Source        importSource      `json:"source"`
	Database      string            `json:"database"`
	Added         int               `json:"added"`
	Values        int               `json:"values"`          // of those
	Present       int               `json:"already_present"` // and equal
	LeftOut       int               `json:"left_out"`
	Differing     []differing       `json:"differing"`
	Retired       []retired         `json:"retired"`
	Findings      []acmedns.Finding `json:"findings"`
	Configuration importedConfig    `json:"configuration"`
}

type importSource struct {
	Config   string `json:"config"`
	Engine   string `json:"engine"`
	Database string `json:"database,omitempty"`
	Schema   int    `json:"schema"`
	Accounts int    `json:"accounts"`
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

type importedConfig struct {
	File  string      `json:"file"`
	State configState `json:"state"`
	Text  string      `json:"text,omitempty"` // of a dry run

	text string
}

type configState string

const (
	configWritten   configState = "written"   // or would be
	configUnchanged configState = "unchanged" // the same text is there
	configKept      configState = "kept"      // another text is there
)

// write puts the configuration in place.
func (c *importedConfig) write(dryRun bool) error {
	if dryRun {
		c.Text = c.text
		return nil
	}
	if c.State != configWritten {
		return nil
	}
	// No secret is in it, and the server runs as another user.
	if err := durable.WriteFile(c.File, []byte(c.text), 0o644); err != nil {
		return withHint(fmt.Errorf("the accounts are imported, but not the configuration: %w", err),
			"run the import again with another --output FILE; the accounts stay as they are")
	}
	return nil
}

// count counts the entries as if all were added; taken takes some back.
func (r *imported) count(entries iter.Seq2[*registry.Entry, error]) iter.Seq2[*registry.Entry, error] {
	return func(yield func(*registry.Entry, error) bool) {
		for e, err := range entries {
			if e != nil {
				r.Added++
				r.Values += len(e.Values)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (r *imported) taken(entry, stored *registry.Entry) error {
	r.Added--
	r.Values -= len(entry.Values)
	if stored == nil {
		r.Retired = append(r.Retired, retired{entry.Username.String(), strings.Clone(entry.Subdomain)})
		return nil
	}
	in := registry.Differences(entry, stored)
	if in == nil {
		r.Present++
		return nil
	}
	r.Differing = append(r.Differing, differing{entry.Username.String(), strings.Clone(entry.Subdomain), in})
	return nil
}

func (r *imported) note(f acmedns.Finding) {
	r.Findings = append(r.Findings, f)
	if f.Kind.LeftOut() {
		r.LeftOut++
	}
}

// shown is how many accounts of a kind are named to a person.
const shown = 10

func (r *imported) print(out io.Writer) {
	would := ""
	if r.DryRun {
		would = "would be "
		fmt.Fprint(out, "A dry run: nothing was changed.\n\n")
	}
	from := r.Source.Database
	if from == "" {
		from = "its PostgreSQL database"
	}
	fmt.Fprintf(out, "%d accounts of acme-dns in %s (schema %d)\n", r.Source.Accounts, from, r.Source.Schema)
	fmt.Fprintf(out, "  %s%simported into %s, with %s\n", count(r.Added), would, r.Database, plural(r.Values, "value"))
	if r.Present > 0 {
		fmt.Fprintf(out, "  %sthere already, and the same\n", count(r.Present))
	}
	r.printDiffering(out)
	r.printRetired(out)
	for _, kind := range acmedns.Kinds() {
		r.printFindings(out, kind)
	}
	r.printConfiguration(out)
	r.printNext(out)
}

func (r *imported) printDiffering(out io.Writer) {
	if len(r.Differing) == 0 {
		return
	}
	fmt.Fprintf(out, "  %sthere already, but not the same, and left as they are here:\n", count(len(r.Differing)))
	for _, d := range r.Differing[:min(len(r.Differing), shown)] {
		in := make([]string, len(d.In))
		for i, what := range d.In {
			in[i] = string(what)
		}
		fmt.Fprintf(out, "      %s %s: another %s\n", d.Username, quote(d.Subdomain), strings.Join(in, ", "))
	}
	printMore(out, len(r.Differing))
}

func (r *imported) printRetired(out io.Writer) {
	if len(r.Retired) == 0 {
		return
	}
	fmt.Fprintf(out, "  %sleft out, for a name that was deleted here (cnamed account delete --release lifts that):\n", count(len(r.Retired)))
	for _, a := range r.Retired[:min(len(r.Retired), shown)] {
		fmt.Fprintf(out, "      %s %s\n", a.Username, quote(a.Subdomain))
	}
	printMore(out, len(r.Retired))
}

// findingTitles say of several accounts what a Finding says of one.
var findingTitles = map[acmedns.Kind]string{
	acmedns.BadUsername:  "left out, for the username:",
	acmedns.BadPassword:  "left out, for the password:",
	acmedns.SameUsername: "left out, for the username of another:",
	acmedns.SameName:     "left out, for the name of another:",
	acmedns.Locked:       "LOCKED: no update is taken until they get an address list:",
	acmedns.BadAllowFrom: "with something else than prefixes in the address list:",
	acmedns.BadValue:     "with something else than challenges as values:",
	acmedns.Unreachable:  "with a subdomain that cannot be updated:",
}

func (r *imported) printFindings(out io.Writer, kind acmedns.Kind) {
	n := 0
	for _, f := range r.Findings {
		if f.Kind == kind {
			n++
		}
	}
	if n == 0 {
		return
	}
	fmt.Fprintf(out, "  %s%s\n", count(n), findingTitles[kind])
	printed := 0
	for _, f := range r.Findings {
		if f.Kind == kind && printed < shown {
			printed++
			fmt.Fprintf(out, "      %s %s: %s\n", printable(f.Username), quote(f.Subdomain), f.Detail)
		}
	}
	printMore(out, n)
}

func printMore(out io.Writer, n int) {
	if n > shown {
		fmt.Fprintf(out, "      and %d more; --json lists them all\n", n-shown)
	}
}

func (r *imported) printConfiguration(out io.Writer) {
	c := &r.Configuration
	verb := "was"
	if r.DryRun {
		verb = "would be"
	}
	switch c.State {
	case configWritten:
		fmt.Fprintf(out, "\nOur configuration %s written to %s. Comments in it say where something changed.\n", verb, c.File)
		if n := strings.Count(c.text, "# "+leftOut); n > 0 {
			fmt.Fprintf(out, "Look at %s in it that the server would not take: # %s…\n", plural(n, "value"), leftOut)
		}
	case configUnchanged:
		fmt.Fprintf(out, "\nOur configuration is in %s already.\n", c.File)
	case configKept:
		fmt.Fprintf(out, "\n%s is another configuration and was left as it is: --force replaces it.\n", c.File)
	}
	if r.DryRun && c.State != configUnchanged {
		fmt.Fprintln(out)
		for line := range strings.Lines(c.text) {
			fmt.Fprint(out, "  | "+line)
		}
	}
}

func (r *imported) printNext(out io.Writer) {
	if r.DryRun {
		fmt.Fprint(out, "\nNext: the same command without --dry-run.\n")
		return
	}
	fmt.Fprintf(out, `
Next:
  1. stop acme-dns                  systemctl disable --now acme-dns
  2. if it ran during the import    run the import again: what was registered since comes over
  3. start cnamed                   cnamed serve --config %s
To undo it, stop cnamed             systemctl disable --now cnamed
  and start acme-dns again          systemctl enable --now acme-dns
Its files and its database were only read.
`, r.Configuration.File)
}

func count(n int) string { return fmt.Sprintf("%-7d ", n) }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// printable keeps text of a database from steering the terminal.
func printable(s string) string {
	if strings.ContainsFunc(s, isControl) {
		return quote(s)
	}
	return s
}
