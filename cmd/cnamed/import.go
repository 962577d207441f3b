package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"cnamed/acmeclient/certdir/durable"
	"cnamed/config"
	"cnamed/registry"
	"cnamed/registry/acmedns"
)

func newImport() *cobra.Command {
	var f importFileFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take over the accounts of an export, or of acme-dns",
		Long: `Takes over all accounts, with their credentials and values, and the registration
tokens, of a file that cnamed export wrote; - is standard input. The way from
SQLite to PostgreSQL and back is an export from the one and an import into the
other. The serial of the zone goes on above that of the export.

All is taken over, or nothing. It is safe to run again: what is there already
stays as it is, and accounts that differ are reported. A server with SQLite must be
stopped before; servers on PostgreSQL may run, and take no updates meanwhile.

For acme-dns see cnamed import acme-dns.`,
		Example: `  cnamed import accounts.jsonl --dry-run
  cnamed import accounts.jsonl --database 'postgres://cnamed@db.example.org/cnamed?sslmode=verify-full'
  zstd -dc accounts.jsonl.zst | cnamed import -
  cnamed import acme-dns --dry-run`,
		Args: wantNames("the file", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return f.run(cmd, args[0])
		},
	}
	cmd.SuggestionsMinimumDistance = 2
	f.add(cmd)
	cmd.AddCommand(newImportAcmeDNS())
	return cmd
}

func newImportAcmeDNS() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "acme-dns",
		Short: "Take over the accounts and the configuration of acme-dns",
		Long: `Reads the configuration of acme-dns and its database (SQLite or PostgreSQL),
writes our configuration for it, and puts every account into our database, so
that clients go on with the credentials that they have. What belongs to acme-dns
is only read.

All accounts are taken over, or none. It is safe to run again: accounts that are
there already stay as they are, and those that differ are reported. An account
whose list of addresses is missing or unreadable comes over locked, and is
reported. A server that uses our database must be stopped before, unless that is
in PostgreSQL.`,
		Example: `  cnamed import acme-dns --dry-run
  cnamed import acme-dns --config /etc/acme-dns/config.cfg
  cnamed import acme-dns --config config.cfg --data ./data --output ./cnamed.toml
  cnamed import acme-dns --into 'postgres://cnamed@db.example.org/cnamed?sslmode=verify-full'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.run(cmd.Context(), &talk{w: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			if f.asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			r.print(cmd.OutOrStdout())
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

type importFlags struct {
	config, database string
	data, output     string
	ips              []string
	dryRun, force    bool
	asJSON           bool

	into map[string]config.Override
}

// The places in which acme-dns looks for its configuration.
const (
	acmeDNSConfig = "/etc/acme-dns/config.cfg"
	acmeDNSFolder = "/var/lib/acme-dns" // of its unit: the database is relative to it
)

func (f *importFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "", "configuration of acme-dns (default: "+acmeDNSConfig+", else ./config.cfg)")
	flags.StringVar(&f.database, "database", "", "database of acme-dns, file or connection string (default: as in its configuration)")
	flags.StringVar(&f.data, "data", config.DataFolder(), "folder of our database")
	f.into = map[string]config.Override{}
	flags.Var(&settingFlag{config.Setting{Key: "database", Default: []string{"sqlite"}}, f.into}, "into",
		"our database: sqlite (a file in --data), or a URL as postgres://user@host/database")
	// What is our database elsewhere is --into here.
	for name, variable := range map[string]string{"into": "CNAMED_DATABASE", "database": "CNAMED_ACME_DNS_DATABASE"} {
		_ = cmd.Flags().SetAnnotation(name, variableKey, []string{variable})
	}
	flags.StringVar(&f.output, "output", defaultConfig, "our configuration, which is written")
	flags.StringArrayVar(&f.ips, "ip", nil, "public address of this server, where acme-dns does not know it (repeatable)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "change nothing, and show what would be done")
	flags.BoolVar(&f.force, "force", false, "replace the file of --output if there is another one")
	flags.BoolVar(&f.asJSON, "json", false, "print the result as JSON")
}

// run imports. The configuration is made first and put in place last: what is
// wrong with it is found before anything changed, and it does not lead to a
// server without its accounts.
func (f *importFlags) run(ctx context.Context, talk *talk) (*imported, error) {
	old, err := acmedns.ReadConfig(f.configPath())
	if err != nil {
		return nil, err
	}
	data, err := filepath.Abs(f.data)
	if err != nil {
		return nil, err
	}
	into, err := f.ourDatabase()
	if err != nil {
		return nil, err
	}
	content, err := convertConfig(old, data, into, f.ips)
	if err != nil {
		return nil, err
	}
	target, err := f.target(content)
	if err != nil {
		return nil, err
	}
	target.database = into
	our := &importTarget{&config.Config{Data: data, Database: into}, f.dryRun}
	r := &imported{
		DryRun: f.dryRun, Database: our.String(), tally: newTally(),
		Findings: []acmedns.Finding{}, Configuration: target,
	}

	source, err := f.open(ctx, old, r)
	if err != nil {
		return nil, err
	}
	err = r.importFrom(ctx, source, our, talk)
	if err := errors.Join(err, source.Close()); err != nil {
		return nil, err
	}
	return r, r.Configuration.write(f.dryRun)
}

// ourDatabase returns what --into names.
func (f *importFlags) ourDatabase() (config.Database, error) {
	c, err := config.Load("", f.into)
	for _, p := range config.AsProblems(err) {
		if p.Key == "database" {
			p.Origin = config.Origin{}
			return "", withHint(fmt.Errorf("--into: %w", p.Err), p.Hint())
		}
	}
	return c.Database, nil
}

func (f *importFlags) configPath() string {
	if f.config != "" {
		return f.config
	}
	if _, err := os.Stat(acmeDNSConfig); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat("config.cfg"); err == nil {
			return "config.cfg"
		}
	}
	return acmeDNSConfig
}

// target finds out what is to happen to the file of the configuration.
func (f *importFlags) target(content string) (importedConfig, error) {
	c := importedConfig{File: f.output, text: content, State: configWritten}
	info, err := os.Stat(f.output)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if f.dryRun {
			break
		}
		if err := durable.MkdirAll(filepath.Dir(f.output), 0o755); err != nil {
			return c, withHint(fmt.Errorf("our configuration: %w", err), "choose another file with --output FILE")
		}
	case err != nil:
		return c, withHint(fmt.Errorf("our configuration: %w", err), "choose another file with --output FILE")
	case !info.Mode().IsRegular():
		return c, withHint(fmt.Errorf("our configuration: %s is no file", f.output), "choose another one with --output FILE")
	default:
		there, err := os.ReadFile(f.output)
		switch {
		case err != nil:
			return c, withHint(fmt.Errorf("our configuration: %w", err), "choose another file with --output FILE")
		case bytes.Equal(there, []byte(content)):
			c.State = configUnchanged
		case !f.force:
			c.State = configKept
		}
	}
	return c, nil
}

// open opens the database of acme-dns.
func (f *importFlags) open(ctx context.Context, old *acmedns.Config, r *imported) (source *acmedns.Database, err error) {
	connection := f.database
	if connection == "" {
		connection = old.Database.Connection
	}
	r.Source = importSource{Config: old.Path, Engine: "sqlite", Database: connection}
	switch old.Database.Engine {
	case "sqlite", "sqlite3":
		if r.Source.Database, err = f.findSQLite(old); err == nil {
			source, err = acmedns.OpenSQLite(ctx, r.Source.Database)
		}
	case "postgres":
		// The connection string has a password in it.
		r.Source.Engine, r.Source.Database = "postgres", ""
		source, err = acmedns.OpenPostgreSQL(ctx, connection)
	default:
		err = withHint(fmt.Errorf("%s: engine %s in [database] is none that acme-dns knows", old.Path, quote(old.Database.Engine)),
			"it must be sqlite, sqlite3 or postgres")
	}
	if err != nil {
		return nil, err
	}
	r.Source.Schema = source.Version()
	return source, nil
}

// findSQLite finds the file of the old database. acme-dns takes a relative path
// from wherever it was started, and nobody knows where that was.
func (f *importFlags) findSQLite(old *acmedns.Config) (string, error) {
	if f.database != "" {
		return f.database, nil
	}
	name := acmedns.SQLitePath(old.Database.Connection)
	if filepath.IsAbs(name) {
		return name, nil
	}
	var found []string
	var infos []fs.FileInfo
	for _, folder := range []string{filepath.Dir(old.Path), ".", acmeDNSFolder} {
		path := filepath.Join(folder, name)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if len(infos) > 0 && os.SameFile(infos[0], info) {
			continue
		}
		found, infos = append(found, path), append(infos, info)
	}
	switch len(found) {
	case 0:
		return "", withHint(fmt.Errorf("the database of acme-dns, %s, is neither beside %s nor here nor in %s", name, old.Path, acmeDNSFolder),
			"acme-dns takes the path from where it is started; name the file with --database")
	case 1:
		return found[0], nil
	default:
		return "", withHint(fmt.Errorf("there are several databases of acme-dns: %s and %s", found[0], found[1]),
			"say which one acme-dns uses with --database")
	}
}

// importFrom takes the accounts over into our database.
func (r *imported) importFrom(ctx context.Context, source *acmedns.Database, our *importTarget, talk *talk) error {
	n, err := source.Len(ctx)
	if err != nil {
		return err
	}
	r.Source.Accounts = n
	progress := newPaced(talk.say)
	entries := source.Entries(ctx, time.Now().Truncate(time.Second), r.note)
	_, err = our.take(ctx, registry.Import{Entries: progress.follow(r.count(entries), ofAll(n)), Taken: r.taken})
	return err
}
