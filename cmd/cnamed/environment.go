package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix starts the variable of every flag: --dns-listen is CNAMED_DNS_LISTEN.
const envPrefix = "CNAMED_"

// variableKey is the annotation of a flag that has a variable of another name:
// one command's --domain is not another's.
const variableKey = "cnamed-variable"

// fromEnvironmentKey is the annotation of a flag that its variable has set.
const fromEnvironmentKey = "cnamed-from-environment"

func envName(f *pflag.Flag) string {
	if name := f.Annotations[variableKey]; len(name) == 1 {
		return name[0]
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// givenByFlag tells whether the command line set a flag, not its variable.
func givenByFlag(cmd *cobra.Command, name string) bool {
	f := cmd.Flags().Lookup(name)
	return f.Changed && f.Annotations[fromEnvironmentKey] == nil
}

// fromEnvironment is implemented by flags that want to know that a variable,
// not the command line, set them.
type fromEnvironment interface {
	SetFromEnvironment(variable, value string) error
}

// applyEnvironment gives the flags that were not given on the command line the
// values of their variables. An empty one is as good as none: compose files
// make such.
func applyEnvironment(cmd *cobra.Command) error {
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		variable := envName(f)
		value, ok := os.LookupEnv(variable)
		if !ok || value == "" || f.Changed || err != nil || f.Name == "help" {
			return
		}
		if setErr := setFromEnvironment(f.Value, variable, value); setErr != nil {
			err = &usageError{
				msg:    fmt.Sprintf("%s: %v", variable, setErr),
				remedy: fmt.Sprintf("the variable stands for --%s; see %s --help", f.Name, cmd.CommandPath()),
			}
			return
		}
		f.Changed = true
		err = cmd.Flags().SetAnnotation(f.Name, fromEnvironmentKey, []string{variable})
	})
	if err == nil {
		warnUnknown(cmd)
	}
	return err
}

func setFromEnvironment(v pflag.Value, variable, value string) error {
	if e, ok := v.(fromEnvironment); ok {
		return e.SetFromEnvironment(variable, value)
	}
	if list, ok := v.(pflag.SliceValue); ok {
		return list.Replace(splitList(value))
	}
	return v.Set(value)
}

// splitList splits the value of a variable that holds a list: by line where it
// has several, else by comma.
func splitList(value string) []string {
	separator := ","
	if strings.Contains(strings.TrimSpace(value), "\n") {
		separator = "\n"
	}
	var items []string
	for item := range strings.SplitSeq(value, separator) {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// warnUnknown names the variables with our prefix that no command knows, which
// are mistyped, but for those that Kubernetes makes for a service of our name.
func warnUnknown(cmd *cobra.Command) {
	known := map[string]bool{}
	for _, c := range append(cmd.Root().Commands(), cmd.Root()) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[envName(f)] = true })
	}
	var unknown []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, envPrefix) && !known[name] &&
			!strings.HasPrefix(name, envPrefix+"PORT") && !strings.HasPrefix(name, envPrefix+"SERVICE_") {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	for _, name := range unknown {
		fmt.Fprintf(cmd.ErrOrStderr(), "cnamed: warning: %s is not a setting of any command\n", name)
	}
}
