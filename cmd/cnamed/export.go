package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"cnamed/acmeclient/certdir/durable"
	"cnamed/config"
	"cnamed/registry"
	"cnamed/registry/postgres"
	"cnamed/registry/sqlite"
)

func newExport() *cobra.Command {
	var flags operatorFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write all accounts to a file of JSON lines",
		Long: `Writes all accounts with their values, the registration tokens and the names that
are not given again, as lines of JSON, to a file or, without one or for -, to
standard output. cnamed import takes it, also into another kind of database. The
server may run; what is written is of one moment.

An export has the hashes of passwords in it, and values that prove control over
domains. A file is for its owner only (0600); guard it as the database.`,
		Example: `  cnamed export accounts.jsonl
  cnamed export --database 'postgres://cnamed@db.example.org/cnamed?sslmode=verify-full' accounts.jsonl
  cnamed export | zstd > accounts.jsonl.zst`,
		Args: wantNames("the file", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := "-"
			if len(args) == 1 {
				file = args[0]
			}
			return exportTo(cmd, &flags, file, force)
		},
	}
	flags.addPlace(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if there is one")
	return cmd
}

func exportTo(cmd *cobra.Command, flags *operatorFlags, file string, force bool) (err error) {
	c, err := flags.where()
	if err != nil {
		return err
	}
	talk := &talk{w: cmd.ErrOrStderr()}
	x := &exporter{header: exportHeader{Format: exportFormat, Version: exportVersion, Domain: c.Domain,
		Made: time.Now().UTC().Truncate(time.Second)}, progress: newPaced(talk.say)}
	if file == "-" {
		if err := x.run(cmd.Context(), c, cmd.OutOrStdout()); err != nil {
			return err
		}
		file = "standard output"
	} else {
		f, err := durable.Create(file, force)
		if err != nil {
			return existsHint(err)
		}
		defer f.Discard()
		if err := x.run(cmd.Context(), c, f); err != nil {
			return err
		}
		if err := f.Place(force); err != nil {
			return existsHint(err)
		}
	}
	talk.say("exported %s with %s, and %s, to %s", plural(x.end.Accounts, "account"), plural(x.values, "value"), plural(x.end.Tokens, "token"), file)
	if x.leftOut > 0 {
		talk.say("left out %s whose subdomain is not text: nobody can update or ask for it", plural(x.leftOut, "account"))
	}
	talk.say("it has the hashes of passwords in it: guard it as the database")
	return nil
}

// existsHint adds the flag that replaces a file.
func existsHint(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return withHint(err, "choose another name, or replace it with --force")
	}
	return err
}

// exporter writes an export.
type exporter struct {
	header   exportHeader
	end      exportEnd
	values   int
	leftOut  int
	progress *paced
}

func (x *exporter) run(ctx context.Context, c *config.Config, out io.Writer) (err error) {
	store, err := openExporter(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	w := bufio.NewWriterSize(out, 1<<16)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	account := new(exportAccount)
	err = store.Export(ctx, func(s registry.State) error { return x.begin(e, s) }, func(entry *registry.Entry) error {
		if !utf8.ValidString(entry.Subdomain) {
			x.leftOut++
			return nil
		}
		account.set(entry)
		x.end.Accounts++
		x.values += len(entry.Values)
		x.progress.say("%d accounts", x.end.Accounts)
		return errors.Join(ctx.Err(), e.Encode(exportLine{Account: account}))
	})
	if err == nil {
		err = e.Encode(exportLine{End: &x.end})
	}
	if ctx.Err() != nil {
		return errors.New("the export was interrupted")
	}
	return errors.Join(err, w.Flush())
}

// begin writes what comes before the accounts.
func (x *exporter) begin(e *json.Encoder, s registry.State) error {
	x.header.Serial = s.Serial
	x.end.Tokens, x.end.Retired = len(s.Tokens), len(s.Retired)
	err := e.Encode(x.header)
	for i := range s.Tokens {
		err = errors.Join(err, e.Encode(exportLine{Token: newExportToken(&s.Tokens[i])}))
	}
	for _, name := range s.Retired {
		err = errors.Join(err, e.Encode(exportLine{Retired: name}))
	}
	return err
}

// storeExporter is a database that is only read.
type storeExporter interface {
	registry.Exporter
	Close() error
}

func openExporter(ctx context.Context, c *config.Config) (storeExporter, error) {
	if err := hasDatabase(c); err != nil {
		return nil, permissionHint(err)
	}
	if c.Database == "" {
		r, err := sqlite.OpenReader(ctx, sqlitePath(c))
		if err != nil {
			return nil, permissionHint(err)
		}
		return r, nil
	}
	s, err := postgres.Open(ctx, c.Database.Reveal(), postgres.Options{Log: slog.New(slog.DiscardHandler), Existing: true})
	if err != nil {
		return nil, err
	}
	return s, nil
}
