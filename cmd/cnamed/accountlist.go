package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"cnamed/registry"
)

func newAccountList() *cobra.Command {
	var flags operatorFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List all accounts",
		Long:    "Lists all accounts, in no particular order. What is printed is not collected\nbefore, however many there are.",
		Example: "  cnamed account list\n  cnamed account list --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.listAccounts(cmd, accountQuery{})
		},
	}
	flags.add(cmd)
	return cmd
}

func newAccountSearch() *cobra.Command {
	var flags operatorFlags
	cmd := &cobra.Command{
		Use:   "search TEXT",
		Short: "List the accounts of which something contains a text",
		Long: `Lists the accounts that have the text, in upper or lower case, in the username,
the subdomain, the note, or an entry of the allow list.`,
		Example: "  cnamed account search 192.0.2.\n  cnamed account search 'mail servers'",
		Args:    wantNames("the text", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.listAccounts(cmd, accountQuery{match: args[0]})
		},
	}
	flags.add(cmd)
	return cmd
}

func newAccountPrune() *cobra.Command {
	var flags operatorFlags
	var days int
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "prune --days N",
		Short: "Delete the accounts that were of no use for N days",
		Long: `Deletes, and lists, the accounts that were neither made nor updated nor logged in
to in the last N days. Whether that is so is looked at once more when an account
is deleted. A certificate is renewed every two months or so, some once a year:
choose N accordingly, and look at --dry-run first.`,
		Example: "  cnamed account prune --days 365 --dry-run",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if days < 1 || days > 100*365 {
				return &usageError{"--days must be from 1 to 36500", "cnamed account prune --days 365 --dry-run"}
			}
			return flags.prune(cmd, time.Now().AddDate(0, 0, -days), dryRun)
		},
	}
	flags.add(cmd)
	cmd.Flags().IntVar(&days, "days", 0, "how long an account must have been of no use")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only list what would be deleted")
	return cmd
}

func (f *operatorFlags) listAccounts(cmd *cobra.Command, q accountQuery) error {
	return f.with(cmd.Context(), func(o *operator) error {
		list := f.newList(cmd.OutOrStdout())
		err := o.accounts(cmd.Context(), q, list.print)
		return errors.Join(err, list.end())
	})
}

// prune deletes page by page, and prints what is deleted.
func (f *operatorFlags) prune(cmd *cobra.Command, before time.Time, dryRun bool) error {
	return f.with(cmd.Context(), func(o *operator) error {
		list := f.newList(cmd.OutOrStdout())
		err := o.accounts(cmd.Context(), accountQuery{unusedSince: before}, func(page []accountInfo) error {
			if !dryRun {
				var err error
				if page, err = o.prune(cmd.Context(), page, before); err != nil {
					return err
				}
			}
			return list.print(page)
		})
		done := "deleted"
		if dryRun {
			done = "would delete"
		}
		(&talk{w: cmd.ErrOrStderr()}).say("%s %d accounts that were of no use since %s", done, list.count, before.UTC().Format(time.RFC3339))
		return errors.Join(err, list.end())
	})
}

// prune deletes those of a page that are unused still, and returns them.
func (o *operator) prune(ctx context.Context, page []accountInfo, before time.Time) ([]accountInfo, error) {
	which := accountPrune{UnusedSince: before}
	for _, a := range page {
		username, err := uuid.Parse(a.Username)
		if err != nil {
			return nil, err
		}
		which.Usernames = append(which.Usernames, username)
	}
	var pruned accountPrune
	if err := o.call(ctx, http.MethodPost, "/accounts/prune", which, &pruned); err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	for _, username := range pruned.Usernames {
		gone[username.String()] = true
	}
	return slices.DeleteFunc(page, func(a accountInfo) bool { return !gone[a.Username] }), nil
}

// accounts calls each with one page after the other.
func (o *operator) accounts(ctx context.Context, q accountQuery, each func([]accountInfo) error) error {
	var after registry.Cursor
	for {
		var page accountPage
		if err := o.call(ctx, http.MethodGet, q.path(after), nil, &page); err != nil {
			return err
		}
		if len(page.Accounts) > 0 {
			if err := each(page.Accounts); err != nil {
				return err
			}
		}
		if page.Next == 0 {
			return nil
		}
		after = page.Next
	}
}

// accountList prints accounts as they come: a table, or one JSON array with a
// line for each.
type accountList struct {
	out    io.Writer
	asJSON bool
	count  int
}

func (f *operatorFlags) newList(out io.Writer) *accountList {
	return &accountList{out: out, asJSON: f.asJSON}
}

func (l *accountList) print(page []accountInfo) error {
	if l.asJSON {
		return l.printJSON(page)
	}
	columns := tabwriter.NewWriter(l.out, 0, 0, 2, ' ', 0)
	for _, a := range page {
		if l.count == 0 {
			fmt.Fprintln(columns, "SUBDOMAIN\tCREATED\tLAST UPDATE\tLAST AUTHENTICATED\tVALUES\tALLOWED FROM\tNOTE")
		}
		l.count++
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", plain(a.Subdomain), dateOr(a.Created, "unknown"),
			dateOr(a.LastUpdate, "never"), dateOr(a.LastAuthenticated, "never"), len(a.Values), a.sources(), plain(a.Note))
	}
	return columns.Flush()
}

func (l *accountList) printJSON(page []accountInfo) error {
	for _, a := range page {
		line, err := json.Marshal(a)
		if err != nil {
			return err
		}
		before := ",\n"
		if l.count == 0 {
			before = "[\n"
		}
		l.count++
		if _, err := fmt.Fprintf(l.out, "%s%s", before, line); err != nil {
			return err
		}
	}
	return nil
}

// end completes the list.
func (l *accountList) end() (err error) {
	switch {
	case l.asJSON && l.count == 0:
		_, err = fmt.Fprintln(l.out, "[]")
	case l.asJSON:
		_, err = fmt.Fprintln(l.out, "\n]")
	case l.count == 0:
		_, err = fmt.Fprintln(l.out, "no accounts")
	}
	return err
}

func dateOr(t time.Time, otherwise string) string {
	if t.IsZero() {
		return otherwise
	}
	return t.Format(time.DateOnly)
}
