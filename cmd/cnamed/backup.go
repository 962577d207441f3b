package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cnamed/acmeclient/certdir/durable"
	"cnamed/config"
	"cnamed/registry/sqlite"
)

func newBackup() *cobra.Command {
	var flags operatorFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the database, also of a running server",
		Long: `Copies the database to a file that cnamed restore takes. The server may run:
everything that was acknowledged before the backup began is in it, of one moment,
and updates go on meanwhile. The copy is read whole before it gets its name.

It has the database in it, and not the certificate of the API and the secret of
DNS cookies, which a new server makes anew, nor the configuration. A server on
PostgreSQL is backed up by pg_dump --schema=cnamed.`,
		Example: `  cnamed backup /var/backups/cnamed-$(date +%F).db
  cnamed backup --data ./data --force backup.db`,
		Args: wantNames("the file", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return backUp(cmd, &flags, args[0], force) },
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if there is one")
	return cmd
}

// backedUp is what a backup did.
type backedUp struct {
	File     string `json:"file"`
	Bytes    int64  `json:"bytes"`
	Accounts int    `json:"accounts"`
	Schema   int    `json:"schema"`
	Serial   uint64 `json:"serial"`
}

func backUp(cmd *cobra.Command, flags *operatorFlags, file string, force bool) (err error) {
	c, err := flags.sqlite()
	if err != nil {
		return err
	}
	if err := besideDatabase(file, c); err != nil {
		return err
	}
	if err := hasDatabase(c); err != nil {
		return permissionHint(err)
	}
	f, err := durable.Create(file, force)
	if err != nil {
		return existsHint(err)
	}
	defer f.Discard()

	talk := &talk{w: cmd.ErrOrStderr()}
	progress := newPaced(talk.say)
	progress.last = time.Now()
	r, err := sqlite.OpenReader(cmd.Context(), sqlitePath(c))
	if err != nil {
		return permissionHint(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	info, err := r.CopyTo(cmd.Context(), f.Name(), func(done, total int64) {
		if done < total {
			progress.say("copied %d of about %d MB (%d %%)", done>>20, total>>20, 100*done/total)
		} else {
			progress.say("the copy is written, reading it")
		}
	})
	if cmd.Context().Err() != nil {
		return errors.New("the backup was interrupted")
	}
	if err != nil {
		return err
	}
	written, err := f.Stat()
	if err != nil {
		return err
	}
	if err := f.Place(force); err != nil {
		return existsHint(err)
	}
	if flags.asJSON {
		return printJSON(cmd.OutOrStdout(), backedUp{file, written.Size(), info.Accounts, info.Schema, info.Serial})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s, of serial %d, backed up to %s (%d MB)\n",
		plural(info.Accounts, "account"), info.Serial, file, (written.Size()+1<<20-1)>>20)
	return err
}

// sqlite is where for what only a database in a file has.
func (f *operatorFlags) sqlite() (*config.Config, error) {
	c, err := f.where()
	if err != nil {
		return nil, err
	}
	if c.Database != "" {
		return nil, withHint(errors.New("the database is in PostgreSQL, which is backed up and restored by its own means"),
			"pg_dump --schema=cnamed; or move the accounts with cnamed export and cnamed import")
	}
	return c, nil
}

// besideDatabase refuses the files of the database itself.
func besideDatabase(file string, c *config.Config) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(path, sqlitePath(c)); ok && (rest == "" || rest[0] == '-') {
		return withHint(fmt.Errorf("%s belongs to the database itself", file), "choose another name, best on another disk")
	}
	return nil
}
