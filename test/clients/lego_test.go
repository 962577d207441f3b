package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// legoVersion is the last whose modules can all be had.
const legoVersion = "github.com/go-acme/lego/v5@v5.2.2"

// lego builds lego as its own go.mod says. It is not in ours, since its hundred
// DNS providers would be too. Without optimization that takes half the time.
func lego(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("building lego takes minutes the first time")
	}
	folder := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "install", "-gcflags=all=-N -l -dwarf=false", "-ldflags=-s -w", legoVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+folder, "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	required(t, err == nil, "lego cannot be built: "+string(out))
	return filepath.Join(folder, "lego")
}

var legoCNAME = regexp.MustCompile(`_acme-challenge\.example\.com\. CNAME (\S+\.auth\.example\.org)\.`)

// TestLego has lego register by itself, with its file of accounts: the first
// run ends with the record to add, the second one has the certificate. A file
// that cnamed wrote is as good from the first run on.
func TestLego(t *testing.T) {
	t.Parallel()
	program := lego(t)
	w := start(t)
	run := func(accounts, name, domains string) (string, error) {
		env := []string{"ACME_DNS_API_BASE=" + w.API(), "ACME_DNS_STORAGE_PATH=" + accounts}
		return run(t, w, env, program,
			"run", "--dns", "acmedns", "-d", domains, "--cert.name", name,
			"--accept-tos", "--email", "ops@example.com", "--server", w.CA.Directory(), "--path", filepath.Join(w.Folder, "lego"),
			// Its check of the authoritative servers asks them at port 53.
			"--dns.resolvers", w.Resolver.Addr(), "--dns.propagation.disable-ans")
	}
	certificate := func(name string) string { return filepath.Join(w.Folder, "lego", "certificates", name+".crt") }

	const both = domain + ",*." + domain
	accounts := filepath.Join(w.Folder, "accounts.json")
	// With both names lego goes on with the second one, and waits a minute for it.
	out, err := run(accounts, "own", "*."+domain)
	cname := legoCNAME.FindStringSubmatch(out)
	if err == nil || cname == nil {
		t.Fatalf("the first run does not end with the CNAME record: %v\n%s", err, out)
	}
	delegate(t, w, cname[1])
	if out, err := run(accounts, "own", both); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	check(t, w, certificate("own"))

	if err := w.Corp.Remove("_acme-challenge." + domain + ". CNAME " + cname[1] + "."); err != nil {
		t.Fatal(err)
	}
	if out, err := run(register(t, w), "ours", both); err != nil {
		t.Fatalf("with delegations.json: %v\n%s", err, out)
	}
	check(t, w, certificate("ours"))
}
