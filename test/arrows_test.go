package test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows are the imports between the packages of the product, beside those of
// cmd/cnamed, which knows everyone, and of test, which may.
var arrows = map[string][]string{
	"cnamed/config":                     nil,
	"cnamed/registry":                   nil,
	"cnamed/registry/sqlite":            {"cnamed/registry"},
	"cnamed/registry/acmedns":           {"cnamed/registry"},
	"cnamed/registry/postgres":          {"cnamed/registry"},
	"cnamed/registry/storetest":         {"cnamed/registry"},
	"cnamed/dnsserver":                  nil,
	"cnamed/httpapi":                    {"cnamed/registry"},
	"cnamed/acmeclient":                 nil,
	"cnamed/acmeclient/certdir":         {"cnamed/acmeclient/certdir/durable"},
	"cnamed/acmeclient/certdir/durable": nil,
	"cnamed/acmeclient/delegate":        {"cnamed/acmeclient/certdir/durable"},
}

// owners are the only packages of the product that import a library.
var owners = map[string][]string{
	"modernc.org/sqlite":            {"cnamed/registry/sqlite", "cnamed/registry/acmedns"},
	"github.com/jackc/pgx/v5":       {"cnamed/registry/postgres", "cnamed/registry/acmedns"},
	"github.com/miekg/dns":          {"cnamed/dnsserver", "cnamed/acmeclient/delegate"},
	"github.com/go-jose/go-jose/v4": {"cnamed/acmeclient"},
	"github.com/gorilla/mux":        {"cnamed/httpapi"},
	"github.com/spf13/cobra":        {"cnamed/cmd/cnamed"},
	"github.com/pelletier/go-toml/v2": {
		"cnamed/config", "cnamed/registry/acmedns"},
	"database/sql": {"cnamed/registry/sqlite", "cnamed/registry/postgres", "cnamed/registry/acmedns"},
	"net/http":     {"cnamed/httpapi", "cnamed/acmeclient", "cnamed/acmeclient/delegate", "cnamed/cmd/cnamed"},
}

func TestPackagesImportOnlyWhatTheyShould(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "cnamed/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg, imports := fields[0], fields[1:]
		if pkg == "cnamed/test" || strings.HasPrefix(pkg, "cnamed/test/") {
			continue
		}
		allowed, known := arrows[pkg]
		if !known && pkg != "cnamed/cmd/cnamed" {
			t.Errorf("%s is in no arrow", pkg)
			continue
		}
		for _, i := range imports {
			if strings.HasPrefix(i, "cnamed/test") || (known && strings.HasPrefix(i, "cnamed/") && !slices.Contains(allowed, i)) {
				t.Errorf("%s imports %s", pkg, i)
			}
			if who, owned := owners[i]; owned && !slices.Contains(who, pkg) {
				t.Errorf("%s imports %s, which is the business of %v", pkg, i, who)
			}
		}
	}
}
