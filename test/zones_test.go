package test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/world"
)

// TestFurtherZonesOfARunningServer: registered names are below each zone that has
// them, and the serial of one without moves with its records alone.
func TestFurtherZonesOfARunningServer(t *testing.T) {
	t.Parallel()
	folder, data := t.TempDir(), t.TempDir()
	file := filepath.Join(folder, "cnamed.toml")
	config := func(static string) {
		text := fmt.Sprintf("[[zone]]\ndomain = \"old.example.net\"\n"+
			"[[zone]]\ndomain = \"example.net\"\nnames = \"none\"\n"+
			"records = [%q, \"old NS old\", \"old A 127.0.0.1\"]\n", static)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config("www A 192.0.2.1")
	s := serve(t, data, "--config", file)
	if want := "cnamed: serving auth.example.org, old.example.net, example.net (records only): "; !strings.Contains(s.Log(), want) {
		t.Errorf("the zones are not listed:\n%s", s.Log())
	}
	ask := func(name string, qtype uint16) *dns.Msg {
		t.Helper()
		r, err := exchange(testContext(t), &dns.Client{Timeout: 10 * time.Second}, new(dns.Msg).SetQuestion(name, qtype), s.DNS[0])
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	serial := func(zone string) uint32 {
		t.Helper()
		r := ask(zone, dns.TypeSOA)
		if len(r.Answer) != 1 {
			t.Fatalf("%v", r)
		}
		return r.Answer[0].(*dns.SOA).Serial
	}
	static := serial("example.net.")
	a, err := registerAccount(testContext(t), http.DefaultClient, s.API[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := update(testContext(t), http.DefaultClient, s.API[0], a, value(1)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		a.Subdomain + "." + world.Zone + ".": dns.RcodeSuccess,
		a.Subdomain + ".old.example.net.":    dns.RcodeSuccess,
		a.Subdomain + ".example.net.":        dns.RcodeNameError,
		a.Subdomain + ".example.com.":        dns.RcodeRefused,
	} {
		if r := ask(name, dns.TypeTXT); r.Rcode != want || (want == dns.RcodeSuccess) != (len(r.Answer) == 1) {
			t.Errorf("%s: %v", name, r)
		}
	}
	if one, other := serial(world.Zone+"."), serial("old.example.net."); one != other || one == static {
		t.Errorf("serials %d and %d, of the static zone %d", one, other, static)
	}
	stop(t, s)
	s = serve(t, data, "--config", file)
	if again := serial("example.net."); again != static {
		t.Errorf("a restart, and updates elsewhere, moved the serial from %d to %d", static, again)
	}
	stop(t, s)
	config("www A 192.0.2.2")
	s = serve(t, data, "--config", file)
	if again := serial("example.net."); again <= static {
		t.Errorf("another record did not move the serial from %d: %d", static, again)
	}
}
