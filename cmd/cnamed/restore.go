package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"cnamed/registry/sqlite"
)

func newRestore() *cobra.Command {
	var flags operatorFlags
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of the database",
		Long: `Puts a copy of a file that cnamed backup wrote in the place of the database, after
reading all of it. The server must be stopped before. The database that is there
is kept beside it under a name with the time, from which it can be restored in
turn. What was registered and set since the backup is not in it. The serial of
the zone goes on above that of both, so that secondaries take the zone.`,
		Example: `  systemctl stop cnamed
  cnamed restore /var/backups/cnamed-2026-11-24.db
  systemctl start cnamed`,
		Args: wantNames("the file", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return restore(cmd, &flags, args[0]) },
	}
	flags.add(cmd)
	return cmd
}

// restoredFrom is what a restore did.
type restoredFrom struct {
	File       string `json:"file"`
	Database   string `json:"database"`
	Accounts   int    `json:"accounts"`
	Schema     int    `json:"schema"`
	Serial     uint64 `json:"serial"`
	Aside      string `json:"aside,omitempty"`
	Unreadable bool   `json:"aside_unreadable,omitempty"`
	AsideLog   string `json:"aside_log,omitempty"`
}

func restore(cmd *cobra.Command, flags *operatorFlags, file string) error {
	c, err := flags.sqlite()
	if err != nil {
		return err
	}
	path := sqlitePath(c)
	done, err := sqlite.Restore(cmd.Context(), path, file, time.Now())
	switch {
	case cmd.Context().Err() != nil && err != nil:
		return withHint(errors.New("the restore was interrupted; nothing was changed"), "run it again")
	case errors.Is(err, sqlite.ErrInUse):
		return withHint(err, "stop the server first: systemctl stop cnamed")
	case err != nil:
		return permissionHint(err)
	}
	if flags.asJSON {
		return printJSON(cmd.OutOrStdout(), restoredFrom{file, path, done.Accounts, done.Schema, done.Serial, done.Aside, done.Unreadable, done.AsideLog})
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s restored from %s to %s; the serial goes on at %d\n", plural(done.Accounts, "account"), file, path, done.Serial)
	switch {
	case done.Unreadable:
		fmt.Fprintf(out, "What was there cannot be read, and is kept as %s\n", done.Aside)
		fmt.Fprintln(out, "To undo it, while no server runs:")
		fmt.Fprintf(out, "  rm -f %s-wal %s-shm\n", path, path) // of the database that goes
		fmt.Fprintf(out, "  mv %s %s\n", done.Aside, path)
		if done.AsideLog != "" { // without it what is in it is lost
			fmt.Fprintf(out, "  mv %s %s-wal\n", done.AsideLog, path)
		}
	case done.Aside != "":
		fmt.Fprintf(out, "The database that was there is kept as %s\n", done.Aside)
		fmt.Fprintf(out, "To undo it: cnamed restore --data %s %s\n", c.Data, done.Aside)
	case done.AsideLog != "":
		fmt.Fprintf(out, "The log of a database that is gone was there, and is kept as %s\n", done.AsideLog)
	}
	fmt.Fprintln(out, "Next: start the server.")
	return nil
}
