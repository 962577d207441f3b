package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cnamed/registry"
)

func newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke registration tokens",
		Long: `With --api-registration token, who wants to register needs a token that the
operator made. These commands are run on the machine of the server, by root or
by its user, and work whether it runs or not.

A client presents a token as the header "Authorization: Bearer TOKEN" or
"X-Api-Token: TOKEN", as user or password of Basic authentication, or in the
path. So a client that knows nothing of tokens is given one of the URLs

  https://TOKEN@auth.example.org
  https://auth.example.org/t/TOKEN`,
		Example: `  cnamed token create --note 'web servers' --uses 5 --expires 30d
  cnamed token list
  cnamed token revoke 3f9c1a77e0`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreate(), newTokenList(), newTokenRevoke())
	return cmd
}

// tokenInfo is a token as commands know it: without its hash.
type tokenInfo struct {
	ID       string    `json:"id"`
	Note     string    `json:"note,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
	MaxUses  int       `json:"max_uses,omitempty"`
	Uses     int       `json:"uses"`
	LastUsed time.Time `json:"last_used,omitzero"`
	State    string    `json:"state"`           // valid, expired or used up
	Secret   string    `json:"token,omitempty"` // only of one that was just made
}

func newTokenInfo(t registry.Token, now time.Time) tokenInfo {
	state := "valid"
	switch {
	case t.Expired(now):
		state = "expired"
	case t.UsedUp():
		state = "used up"
	}
	return tokenInfo{t.ID, t.Note, t.Created, t.Expires, t.MaxUses, t.Uses, t.LastUsed, state, ""}
}

type tokenRequest struct {
	Note    string    `json:"note"`
	MaxUses int       `json:"max_uses"`
	Expires time.Time `json:"expires,omitzero"`
}

// tokenRoutes are the requests of the commands below.
func tokenRoutes(mux *http.ServeMux, reg *registry.Registry) {
	mux.HandleFunc("POST /tokens", func(w http.ResponseWriter, r *http.Request) {
		var want tokenRequest
		if !operatorRead(w, r, &want) {
			return
		}
		token, secret, err := reg.CreateToken(r.Context(), registry.TokenRequest(want))
		if err != nil {
			operatorFail(w, err, "cnamed token create --help")
			return
		}
		info := newTokenInfo(token, time.Now())
		info.Secret = secret.Reveal()
		operatorReply(w, info)
	})
	mux.HandleFunc("GET /tokens", func(w http.ResponseWriter, _ *http.Request) {
		all := []tokenInfo{}
		for _, t := range reg.Tokens() {
			all = append(all, newTokenInfo(t, time.Now()))
		}
		operatorReply(w, all)
	})
	mux.HandleFunc("DELETE /tokens/{id}", func(w http.ResponseWriter, r *http.Request) {
		if err := reg.RevokeToken(r.Context(), r.PathValue("id")); err != nil {
			operatorFail(w, err, "cnamed token list shows the IDs")
			return
		}
		operatorReply(w, struct{}{})
	})
}

func newTokenCreate() *cobra.Command {
	var flags operatorFlags
	var want tokenRequest
	var expires string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token, and show it once",
		Long: `Makes a token and prints it. The server keeps a hash of it only: it cannot be
shown again. Accounts that were registered with a token do not end with it.`,
		Example: `  cnamed token create --note 'web servers' --uses 5 --expires 30d
  cnamed token create --expires 2027-01-01`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if want.Expires, err = parseExpiry(expires, time.Now()); err != nil {
				return err
			}
			var made tokenInfo
			err = flags.with(cmd.Context(), func(o *operator) error {
				return o.call(cmd.Context(), http.MethodPost, "/tokens", want, &made)
			})
			if err != nil {
				return err
			}
			if flags.asJSON {
				return printJSON(cmd.OutOrStdout(), made)
			}
			talk := &talk{w: cmd.ErrOrStderr()}
			talk.say("made token %s: %s, %s; it is not shown again", made.ID, made.limit(), made.until())
			fmt.Fprintln(cmd.OutOrStdout(), made.Secret)
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&want.Note, "note", "", "what the token is for, to be shown in lists")
	cmd.Flags().IntVar(&want.MaxUses, "uses", 0, "how many registrations it allows (default: any number)")
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends: a date as 2027-01-01, or after 12h or 30d (default: never)")
	return cmd
}

func newTokenList() *cobra.Command {
	var flags operatorFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Show all tokens, without their secrets",
		Example: "  cnamed token list\n  cnamed token list --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []tokenInfo
			err := flags.with(cmd.Context(), func(o *operator) error {
				return o.call(cmd.Context(), http.MethodGet, "/tokens", nil, &all)
			})
			if err != nil {
				return err
			}
			if flags.asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return printTokens(cmd.OutOrStdout(), all)
		},
	}
	flags.add(cmd)
	return cmd
}

func newTokenRevoke() *cobra.Command {
	var flags operatorFlags
	cmd := &cobra.Command{
		Use:   "revoke ID...",
		Short: "Take tokens back",
		Long: `Removes tokens, by the IDs that cnamed token list shows. The accounts that were
registered with them stay: the server's log has the ID in the line of each.`,
		Example: "  cnamed token revoke 3f9c1a77e0",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{"no token is named", "cnamed token list shows the IDs"}
			}
			talk := &talk{w: cmd.ErrOrStderr()}
			return flags.with(cmd.Context(), func(o *operator) error {
				var errs []error
				for _, id := range args {
					err := o.call(cmd.Context(), http.MethodDelete, "/tokens/"+url.PathEscape(id), nil, nil)
					if err == nil {
						talk.say("revoked token %s", id)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

// with calls f with a way to the registry.
func (f *operatorFlags) with(ctx context.Context, do func(*operator) error) error {
	o, err := f.connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(o), o.Close())
}

// parseExpiry reads a date, a time, or how long from now.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(d), nil
	}
	return time.Time{}, &usageError{"--expires " + quote(s) + " is no time", "give a date as 2027-01-01, or a time from now as 12h or 30d"}
}

func (t tokenInfo) limit() string {
	if t.MaxUses == 0 {
		return "any number of registrations"
	}
	return fmt.Sprintf("%d registrations", t.MaxUses)
}

func (t tokenInfo) until() string {
	if t.Expires.IsZero() {
		return "without an end"
	}
	return "until " + t.Expires.Format(time.RFC3339)
}

func printTokens(out io.Writer, all []tokenInfo) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "no tokens")
		return err
	}
	date := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.Format(time.RFC3339)
	}
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "ID\tSTATE\tUSES\tEXPIRES\tLAST USED\tCREATED\tNOTE")
	for _, t := range all {
		uses := strconv.Itoa(t.Uses)
		if t.MaxUses > 0 {
			uses += "/" + strconv.Itoa(t.MaxUses)
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.State, uses, date(t.Expires), date(t.LastUsed), date(t.Created), t.Note)
	}
	return columns.Flush()
}
