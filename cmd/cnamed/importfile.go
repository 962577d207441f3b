package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"cnamed/registry"
)

// importFileFlags are those of an import of what cnamed export wrote.
type importFileFlags struct {
	operatorFlags
	dryRun bool
}

func (f *importFileFlags) add(cmd *cobra.Command) {
	f.operatorFlags.add(cmd)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "change nothing, and show what would be done")
}

// fileImported is what an import of an export did, or would do.
type fileImported struct {
	DryRun   bool   `json:"dry_run"`
	File     string `json:"file"`
	Database string `json:"database"`
	Accounts int    `json:"accounts"` // in the file
	tally
	Tokens        int    `json:"tokens"` // added
	TokensPresent int    `json:"tokens_already_present"`
	RetiredNames  int    `json:"retired_names"` // in the file
	Serial        uint64 `json:"serial,omitempty"`
}

func (f *importFileFlags) run(cmd *cobra.Command, file string) error {
	c, err := f.where()
	if err != nil {
		return err
	}
	in, size, err := openImport(cmd, file)
	if err != nil {
		return err
	}
	defer in.Close()
	talk := &talk{w: cmd.ErrOrStderr()}
	x, err := newExportReader(in, file)
	if err != nil {
		return err
	}
	if x.header.Domain != "" && c.Domain != "" && x.header.Domain != c.Domain {
		talk.say("warning: the export is of %s, and this server's domain is %s: CNAME records that lead to the old one find nothing here",
			x.header.Domain, c.Domain)
	}
	our := &importTarget{c, f.dryRun}
	r := &fileImported{DryRun: f.dryRun, File: file, Database: our.String(), tally: newTally(),
		Tokens: len(x.tokens), RetiredNames: len(x.retired)}
	progress := newPaced(talk.say)
	entries := progress.follow(r.count(x.entries()), func(done int) string {
		if size > 0 {
			return fmt.Sprintf("%d accounts (%d %%)", done, 100*x.read/size)
		}
		return fmt.Sprintf("%d accounts", done)
	})
	committed, err := our.take(cmd.Context(), registry.Import{
		Entries: entries, Taken: r.taken, Tokens: x.tokens, Retired: x.retired, Serial: x.header.Serial,
		TokenTaken: func(registry.Token) {
			r.Tokens--
			r.TokensPresent++
		},
	})
	if err != nil {
		return err
	}
	r.Accounts, r.Serial = x.found.Accounts, committed.Serial
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), r)
	}
	r.print(cmd.OutOrStdout())
	return nil
}

// openImport opens a file, or standard input, and returns its size, if it has one.
func openImport(cmd *cobra.Command, file string) (in io.ReadCloser, size int64, err error) {
	if file == "-" {
		return io.NopCloser(cmd.InOrStdin()), 0, nil
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = withHint(err, "cnamed export writes such a file")
		if near := cmd.SuggestionsFor(file); len(near) > 0 {
			err = withHint(err, "did you mean cnamed import "+near[0]+"?")
		}
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder", file)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (r *fileImported) print(out io.Writer) {
	would := ""
	if r.DryRun {
		would = "would be "
		fmt.Fprint(out, "A dry run: nothing was changed.\n\n")
	}
	fmt.Fprintf(out, "%s and %s in %s\n", plural(r.Accounts, "account"), plural(r.Tokens+r.TokensPresent, "token"), r.File)
	r.tally.print(out, would, r.Database)
	if r.Tokens > 0 {
		fmt.Fprintf(out, "  %s%simported\n", count(r.Tokens), "tokens "+would)
	}
	if r.TokensPresent > 0 {
		fmt.Fprintf(out, "  %stokens there already\n", count(r.TokensPresent))
	}
	if r.DryRun {
		fmt.Fprint(out, "\nNext: the same command without --dry-run.\n")
		return
	}
	fmt.Fprint(out, "\nThe file has the hashes of passwords in it: remove it when it is of no use any more.\n")
}
