package main

import (
	"fmt"
	"io"
	"io/fs"
	"strings"

	"cnamed/acmeclient/certdir/durable"
	"cnamed/config"
	"cnamed/registry/acmedns"
)

// imported is what an import did, or would do.
type imported struct {
	DryRun   bool         `json:"dry_run"`
	Source   importSource `json:"source"`
	Database string       `json:"database"`
	tally
	LeftOut       int               `json:"left_out"`
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

type importedConfig struct {
	File  string      `json:"file"`
	State configState `json:"state"`
	Text  string      `json:"text,omitempty"` // of a dry run

	text     string
	database config.Database // is in the text, perhaps with a password
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
		c.Text = c.shown()
		return nil
	}
	if c.State != configWritten {
		return nil
	}
	// The server runs as another user; without a database no secret is in it.
	mode := fs.FileMode(0o644)
	if c.database != "" {
		mode = 0o600
	}
	if err := durable.WriteFile(c.File, []byte(c.text), mode); err != nil {
		return withHint(fmt.Errorf("the accounts are imported, but not the configuration: %w", err),
			"run the import again with another --output FILE; the accounts stay as they are")
	}
	return nil
}

// shown is the text for a person.
func (c *importedConfig) shown() string {
	if c.database == "" {
		return c.text
	}
	return strings.ReplaceAll(c.text, c.database.Reveal(), c.database.String())
}

func (r *imported) note(f acmedns.Finding) {
	r.Findings = append(r.Findings, f)
	if f.Kind.LeftOut() {
		r.LeftOut++
	}
}

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
	r.tally.print(out, would, r.Database)
	for _, kind := range acmedns.Kinds() {
		r.printFindings(out, kind)
	}
	r.printConfiguration(out)
	r.printNext(out)
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

func (r *imported) printConfiguration(out io.Writer) {
	c := &r.Configuration
	verb := "was"
	if r.DryRun {
		verb = "would be"
	}
	switch c.State {
	case configWritten:
		fmt.Fprintf(out, "\nOur configuration %s written to %s. Comments in it say where something changed.\n", verb, c.File)
		if c.database != "" {
			fmt.Fprintln(out, "It names the database, perhaps with a password: only its owner may read it. Give it to the user of the server.")
		}
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
		for line := range strings.Lines(c.shown()) {
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
