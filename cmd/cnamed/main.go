// Command cnamed answers ACME DNS-01 challenges for domains whose DNS it has no
// credentials for, and obtains certificates that way.
//
// This package is flags, wiring and output. It is the only one that knows all
// the others: serve.go is the table of contents of the server, issue.go that of
// the client.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it. It returns the exit
// code: 0, 1 where something failed, 2 where the command line makes no sense.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks to come to an end; the second one is not caught.
	context.AfterFunc(ctx, stop)

	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	report(stderr, err)
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "cnamed",
		Short: "Certificates for domains whose DNS no script may write to",
		Long: `cnamed answers ACME DNS-01 challenges for domains that delegate them with one
CNAME record, and obtains (wildcard) certificates that way. It runs as the
server that answers (cnamed serve) and as an ACME client (cnamed issue, renew).`,
		Example: `  cnamed serve --domain auth.example.org --ip 203.0.113.5
  cnamed issue --server https://auth.example.org -d example.com -d '*.example.com' --agree-tos`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              noArguments,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return applyEnvironment(cmd) },
	}
	root.SuggestionsMinimumDistance = 2
	root.Version = versionString()
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{msg: err.Error(), remedy: cmd.CommandPath() + " --help"}
	})
	root.AddCommand(
		newServe(),
		newRegister(),
		newIssue(),
		newRenew(),
		newList(),
		newToken(),
		newAccount(),
		newHealth(),
		newBackup(),
		newRestore(),
		newExport(),
		newImport(),
		newVersion(),
	)
	return root
}

// noArguments refuses arguments, and names the command that was perhaps meant.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := &usageError{msg: "unexpected argument " + quote(args[0]), remedy: cmd.CommandPath() + " --help"}
	if cmd.HasSubCommands() {
		e.msg = "unknown command " + quote(args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			e.remedy = "did you mean cnamed " + near[0] + "?"
		}
	}
	return e
}
