package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func newAccount() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Look after the accounts of a server",
		Long: `Shows, changes and deletes the accounts of the server on this machine, whether
it runs or not. The commands are run by root, or by the server's user.

NAME is the username of an account, its subdomain, or for a name that the server
has drawn also the whole target of the CNAME record.`,
		Example: `  cnamed account list
  cnamed account search 192.0.2.
  cnamed account show 8e5700ea-a4bf-41c7-8a77-e990661dcc6a
  cnamed account prune --days 365 --dry-run`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newAccountList(), newAccountSearch(), newAccountShow(), newAccountAllow(), newAccountRotate(),
		newAccountClear(), newAccountNote(), newAccountDelete(), newAccountPrune(),
	)
	return cmd
}

// accountPath is the request path for one account.
func accountPath(path, name string, more ...string) string {
	query := url.Values{"name": {name}}
	for i := 0; i+1 < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return path + "?" + query.Encode()
}

// wantNames refuses a command line with another number of arguments than it
// needs: at least least, and at most most unless that is negative.
func wantNames(what string, least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return &usageError{what + " is missing", cmd.UseLine()}
		case most >= 0 && len(args) > most:
			return &usageError{"unexpected argument " + quote(args[most]), cmd.UseLine()}
		}
		return nil
	}
}

func newAccountShow() *cobra.Command {
	var flags operatorFlags
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show all that is known of an account",
		Example: "  cnamed account show 8e5700ea-a4bf-41c7-8a77-e990661dcc6a",
		Args:    wantNames("the account", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.showAccount(cmd, http.MethodGet, args[0], nil)
		},
	}
	flags.add(cmd)
	return cmd
}

func newAccountAllow() *cobra.Command {
	var flags operatorFlags
	var anywhere bool
	cmd := &cobra.Command{
		Use:   "allow NAME (CIDR... | --anywhere)",
		Short: "Replace the addresses from which an account is taken",
		Long: `Replaces the allow list of an account: its credentials are good from these
prefixes only, from now on. This unlocks an account that was imported without a
usable list.`,
		Example: `  cnamed account allow 8e5700ea-a4bf-41c7-8a77-e990661dcc6a 192.0.2.0/24 2001:db8::/32
  cnamed account allow 8e5700ea-a4bf-41c7-8a77-e990661dcc6a --anywhere`,
		Args: wantNames("the account", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefixes := append([]string{}, args[1:]...)
			if anywhere == (len(prefixes) > 0) {
				return &usageError{"give either prefixes or --anywhere", "cnamed account allow " + args[0] + " 192.0.2.0/24"}
			}
			return flags.showAccount(cmd, http.MethodPatch, args[0], accountChange{AllowFrom: &prefixes})
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&anywhere, "anywhere", false, "take the credentials from any address")
	return cmd
}

func newAccountNote() *cobra.Command {
	var flags operatorFlags
	cmd := &cobra.Command{
		Use:     "note NAME TEXT",
		Short:   "Replace the note on an account",
		Long:    "Replaces the note, one line of at most 128 characters. The owner sees it too,\nand can change it. An empty text removes it.",
		Example: "  cnamed account note 8e5700ea-a4bf-41c7-8a77-e990661dcc6a 'mail servers, ticket 4711'",
		Args:    wantNames("the account or the text", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.showAccount(cmd, http.MethodPatch, args[0], accountChange{Note: &args[1]})
		},
	}
	flags.add(cmd)
	return cmd
}

// showAccount makes a request that is answered with an account, and prints it.
func (f *operatorFlags) showAccount(cmd *cobra.Command, method, name string, in any) error {
	var a accountInfo
	err := f.with(cmd.Context(), func(o *operator) error {
		return o.call(cmd.Context(), method, accountPath("/account", name), in, &a)
	})
	if err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), a)
	}
	return a.print(cmd.OutOrStdout())
}

func newAccountRotate() *cobra.Command {
	var flags operatorFlags
	cmd := &cobra.Command{
		Use:     "rotate NAME",
		Short:   "Give an account another password, and show it once",
		Long:    "Makes a password and prints it. The old one is void at once. The server keeps a\nhash of the new one only: it cannot be shown again.",
		Example: "  cnamed account rotate 8e5700ea-a4bf-41c7-8a77-e990661dcc6a",
		Args:    wantNames("the account", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var made accountPassword
			err := flags.with(cmd.Context(), func(o *operator) error {
				return o.call(cmd.Context(), http.MethodPost, accountPath("/account/password", args[0]), nil, &made)
			})
			if err != nil {
				return err
			}
			if flags.asJSON {
				return printJSON(cmd.OutOrStdout(), made)
			}
			(&talk{w: cmd.ErrOrStderr()}).say("the password of %s is another one now; it is not shown again", plain(made.Subdomain))
			_, err = fmt.Fprintln(cmd.OutOrStdout(), made.Password)
			return err
		},
	}
	flags.add(cmd)
	return cmd
}

func newAccountClear() *cobra.Command {
	var flags operatorFlags
	cmd := &cobra.Command{
		Use:     "clear NAME [VALUE...]",
		Short:   "Take the values of an account away, all of them or some",
		Example: "  cnamed account clear 8e5700ea-a4bf-41c7-8a77-e990661dcc6a",
		Args:    wantNames("the account", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			paths := []string{accountPath("/account/values", args[0])}
			if len(args) > 1 {
				paths = nil
			}
			for _, value := range args[min(1, len(args)):] {
				paths = append(paths, accountPath("/account/values", args[0], "txt", value))
			}
			return flags.delete(cmd, paths)
		},
	}
	flags.add(cmd)
	return cmd
}

func newAccountDelete() *cobra.Command {
	var flags operatorFlags
	var release bool
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete accounts",
		Long: `Deletes accounts with their values. Their names are gone from DNS at once.

A name that was chosen, or typed by hand, is not given to anybody again, because
a CNAME record may still lead to it, and who got the name would get certificates
for the domain that has the record. --release lifts that for names to which no
record leads, of accounts that exist or were deleted before.`,
		Example: `  cnamed account delete 8e5700ea-a4bf-41c7-8a77-e990661dcc6a
  cnamed account delete --release www-example-com`,
		Args: wantNames("the account", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), func(o *operator) error {
				var errs []error
				for _, name := range args {
					path := accountPath("/account", name)
					if release {
						path = accountPath("/account", name, "release", "")
					}
					err := o.call(cmd.Context(), http.MethodDelete, path, nil, nil)
					if err == nil {
						(&talk{w: cmd.ErrOrStderr()}).say("deleted %s", name)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&release, "release", false, "let the names be chosen again")
	return cmd
}

// delete makes requests that have no other reply than that they were done.
func (f *operatorFlags) delete(cmd *cobra.Command, paths []string) error {
	return f.with(cmd.Context(), func(o *operator) error {
		for _, path := range paths {
			if err := o.call(cmd.Context(), http.MethodDelete, path, nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a accountInfo) print(out io.Writer) error {
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"subdomain", plain(a.Subdomain)},
		{"username", a.Username},
		{"note", plain(a.Note)},
		{"allowed from", a.sources()},
		{"created", timeOr(a.Created, "unknown")},
		{"last update", timeOr(a.LastUpdate, "never")},
		{"last authenticated", timeOr(a.LastAuthenticated, "never")},
	} {
		fmt.Fprintf(columns, "%s\t%s\n", line[0], line[1])
	}
	for _, v := range a.Values {
		fmt.Fprintf(columns, "value\t%s set %s\n", v.TXT, timeOr(v.Set, "unknown"))
	}
	return columns.Flush()
}

// sources says from where the credentials are taken.
func (a accountInfo) sources() string {
	switch {
	case a.Locked:
		return "nowhere (locked)"
	case len(a.AllowFrom) == 0:
		return "anywhere"
	}
	return strings.Join(a.AllowFrom, " ")
}

func timeOr(t time.Time, otherwise string) string {
	if t.IsZero() {
		return otherwise
	}
	return t.Format(time.RFC3339)
}

// plain returns text that cannot play with a terminal: imported names may hold
// anything.
func plain(s string) string {
	if q := quote(s); strings.Contains(q, `\`) {
		return q
	}
	return s
}
