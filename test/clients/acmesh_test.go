package clients

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestWireOfAcmeSh is not acme.sh itself, which is in no registry of packages.
// It is what dns_acmedns of acme.sh 3.1.4 puts on the wire, by the same program
// with the same options, and what it takes for success: Proxmox VE, OPNsense
// and mailcow come this way.
func TestWireOfAcmeSh(t *testing.T) {
	t.Parallel()
	installed(t, "curl")
	w := start(t)
	post := func(ctx context.Context, path string, headers [2]string, body string) (string, error) {
		args := []string{
			"--silent", "--dump-header", "/dev/null", "-L", "-g",
			"--user-agent", "acme.sh/3.1.4 (https://github.com/acmesh-official/acme.sh)", "-X", "POST",
			"-H", headers[0], "-H", headers[1], "-H", "", "-H", "", "-H", "",
		}
		if body != "" {
			args = append(args, "--data", body)
		}
		out, err := exec.CommandContext(ctx, "curl", append(args, w.API()+path)...).Output()
		return string(out), err
	}

	reply, err := post(testContext(t), "/register", [2]string{}, "")
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) string {
		// The sed of acme.sh, which sees a line that begins with a brace.
		m := regexp.MustCompile(`(?m)^{.*"` + name + `":[ ]*"([^"]*)".*}`).FindStringSubmatch(reply)
		if m == nil {
			t.Fatalf("acme.sh finds no %s in %s", name, reply)
		}
		return m[1]
	}
	headers := [2]string{"X-Api-User: " + field("username"), "X-Api-Key: " + field("password")}
	subdomain := field("subdomain")
	delegate(t, w, field("fulldomain"))
	obtain(t, w, library{set: func(ctx context.Context, _, value string) error {
		reply, err := post(ctx, "/update", headers, fmt.Sprintf(`{"subdomain":"%s", "txt": "%s"}`, subdomain, value))
		if err == nil && !strings.Contains(reply, `"`+value+`"`) {
			err = fmt.Errorf("invalid response of acme-dns: %s", reply)
		}
		return err
	}})
}
