package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cnamed/test/world"
)

// hook returns the path of the script that ships for programs without acme-dns.
func hook(t *testing.T) string {
	t.Helper()
	installed(t, "curl")
	path, err := filepath.Abs("../../cmd/cnamed/dist/hooks/cnamed-hook")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCertbot(t *testing.T) {
	t.Parallel()
	certbot, script := installed(t, "certbot"), hook(t)
	w := start(t)
	env := []string{"CNAMED_DELEGATIONS=" + register(t, w)}
	folder := filepath.Join(w.Folder, "certbot")
	folders := []string{"--config-dir", folder, "--work-dir", folder + "/work", "--logs-dir", folder + "/log"}
	out, err := run(t, w, env, certbot, append(folders, "certonly", "--non-interactive", "--server", w.CA.Directory(),
		"--agree-tos", "--register-unsafely-without-email",
		"--manual", "--preferred-challenges", "dns", "--manual-auth-hook", script,
		"-d", domain, "-d", "*."+domain)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fullchain := filepath.Join(folder, "live", domain, "fullchain.pem")
	check(t, w, fullchain)

	first, err := os.ReadFile(fullchain)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, w, env, certbot, append(folders, "renew", "--force-renewal", "--no-random-sleep-on-renew")...); err != nil {
		t.Fatalf("renewing: %v\n%s", err, out)
	}
	check(t, w, fullchain)
	if second, err := os.ReadFile(fullchain); err != nil || string(second) == string(first) {
		t.Errorf("certbot renew left the certificate as it was (%v)", err)
	}
}

// TestDehydrated sets challenges one by one and all at once, with a file of
// credentials that was made by hand and does not name the server.
func TestDehydrated(t *testing.T) {
	t.Parallel()
	for _, chain := range []string{"no", "yes"} {
		t.Run("HOOK_CHAIN="+chain, func(t *testing.T) {
			t.Parallel()
			dehydrated, script := installed(t, "dehydrated"), hook(t)
			w := start(t)
			folder := filepath.Join(w.Folder, "dehydrated")
			settings := fmt.Sprintf("CA=%s\nBASEDIR=%s\nCHALLENGETYPE=dns-01\nHOOK=%s\nHOOK_CHAIN=%s\n"+
				"KEY_ALGO=prime256v1\nACCOUNT_KEYSIZE=2048\n", // 4096 bits of RSA take a while to find
				w.CA.Directory(), folder, script, chain)
			write(t, filepath.Join(folder, "config"), settings)
			env := []string{"CNAMED_SERVER=" + w.API() + "/", "CNAMED_DELEGATIONS=" + registerByHand(t, w)}
			config := []string{"--config", filepath.Join(folder, "config")}
			if out, err := run(t, w, env, dehydrated, append(config, "--register", "--accept-terms")...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			out, err := run(t, w, env, dehydrated, append(config, "--cron", "--domain", domain+" *."+domain)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			check(t, w, filepath.Join(folder, "certs", domain, "fullchain.pem"))
		})
	}
}

// registerByHand does what the page of clients does with curl: the reply to
// /register is the entry of the domain.
func registerByHand(t *testing.T, w *world.World) string {
	t.Helper()
	res, err := http.Post(w.API()+"/register", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var account struct{ FullDomain string }
	if err := json.Unmarshal(reply, &account); err != nil {
		t.Fatal(err)
	}
	delegate(t, w, account.FullDomain)
	path := filepath.Join(w.Folder, "by-hand.json")
	write(t, path, fmt.Sprintf("{%q: %s}\n", domain, reply))
	return path
}

// TestHookSaysWhatIsWrong runs the script as certbot does, and reads its error.
func TestHookSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	script := hook(t)
	w := start(t)
	good := register(t, w)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, old, new string) string {
		path := filepath.Join(w.Folder, name)
		write(t, path, strings.ReplaceAll(string(text), old, new))
		return path
	}
	readable := file("readable.json", "", "")
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("v", 43)
	for _, c := range []struct {
		name, file, domain, value string
		fails                     bool
		says                      string
	}{
		{"works", good, domain, value, false, ""},
		{"others can read", readable, domain, value, false, "warning: others can read " + readable + ": chmod 600"},
		{"no file", filepath.Join(w.Folder, "none.json"), domain, value, true, "error: cannot read"},
		{"other domain", good, "example.net", value, true, "error: no credentials for example.net"},
		{"part of a name", good, "ample.com", value, true, "error: no credentials for ample.com"},
		{"a dot is a dot", file("dot.json", "example.com", "examplexcom"), domain, value, true, "error: no credentials for example.com"},
		{"no server", file("server.json", "server_url", "other"), domain, value, true, "hint: set CNAMED_SERVER"},
		{"server is gone", file("gone.json", w.API(), "http://127.0.0.1:1"), domain, value, true, "error: no answer from http://127.0.0.1:1"},
		{"other password", file("password.json", `"password": "`, `"password": "x`), domain, value, true, `{"error": "forbidden"} 401`},
		{"bad value", good, domain, "short", true, `{"error": "bad_txt"} 400`},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := []string{"CNAMED_DELEGATIONS=" + c.file, "CERTBOT_DOMAIN=" + c.domain, "CERTBOT_VALIDATION=" + c.value}
			out, err := run(t, w, env, script)
			if (err != nil) != c.fails || !strings.Contains(out, c.says) || c.says == "" && out != "" {
				t.Errorf("%v\n%s", err, out)
			}
			if err != nil && !strings.Contains(out, "cnamed-hook: hint: ") {
				t.Errorf("no hint in\n%s", out)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
