package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"cnamed/test/world"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cnamed": main})
}

// TestScripts runs the scripts of the command line. Beside the commands of
// testscript they have:
//
//	world [OPTION...]   starts one; sets $SERVER, $API_ADDRESS, $DATA, $DNS, $CA, $CA_ROOT, $RESOLVER. The options:
//	                    nonce=PERCENT, block=DOMAIN, eab=MAC-KEY, closed, token, chosen
//	stop-server         ends its server
//	start-server        starts it again, where it was
//	setenv NAME FILE [REGEXP]  sets a variable to the text of a file, or to the first group of an expression in it
//	api METHOD PATH [BODY]  makes a request to its API as $API_USER with $API_KEY, and prints status and reply
//	dns LABEL           asks it for a name of its zone, and prints the rcode and the values
//	delegate FILE       adds the CNAME records that a file holds to the company's DNS
//	stop-ca             ends the CA
//	break-ca            makes the CA answer nonsense, until mend-ca
//	occupy              binds a port, and sets $BUSY to its address
//	sqlite FILE SQL     runs a statement on a database
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "share"))
			env.Values["world"] = new(scriptWorld)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"world":    cmdWorld,
			"delegate": cmdDelegate,
			"stop-ca":  cmdStopCA,
			"break-ca": cmdBreakCA(true),
			"mend-ca":  cmdBreakCA(false),
			"occupy":   cmdOccupy,
			"sqlite":   cmdSQLite,

			"stop-server":  cmdStopServer,
			"start-server": cmdStartServer,
			"setenv":       cmdSetenv,
			"api":          cmdAPI,
			"dns":          cmdDNS,
		},
	})
}

func cmdWorld(ts *testscript.TestScript, _ bool, args []string) {
	binary, err := exec.LookPath("cnamed")
	ts.Check(err)
	folder := ts.MkAbs("world")
	ts.Check(os.Mkdir(folder, 0o700))
	o := world.Options{Folder: folder, Binary: binary}
	for _, arg := range args {
		switch key, value, _ := strings.Cut(arg, "="); key {
		case "nonce":
			o.CA.NonceRejectPercent, err = strconv.Atoi(value)
			ts.Check(err)
		case "block":
			o.CA.Blocklist = append(o.CA.Blocklist, value)
		case "eab":
			o.CA.EABKeys = map[string]string{"kid-1": value}
		case "closed", "token":
			o.Serve = append(o.Serve, "--api-registration", arg)
		case "chosen":
			o.Serve = append(o.Serve, "--api-subdomains", "chosen", "--dns-records", "www A 192.0.2.1")
		default:
			ts.Fatalf("world: unknown option %s", arg)
		}
	}
	broken := new(atomic.Bool)
	o.CA.Wrap = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if broken.Load() {
				_, _ = io.WriteString(w, "<html>We will be back soon.</html>")
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	w, err := world.Start(context.Background(), o)
	ts.Check(err)
	ts.Defer(func() { ts.Check(w.Close()) })
	*ts.Value("world").(*scriptWorld) = scriptWorld{w, broken}
	ts.Setenv("SERVER", w.API())
	_, address, _ := strings.Cut(w.API(), "://")
	ts.Setenv("API_ADDRESS", address)
	ts.Setenv("DATA", w.Data)
	ts.Setenv("DNS", w.Server.DNS[0])
	ts.Setenv("CA", w.CA.Directory())
	ts.Setenv("CA_ROOT", w.CARoot)
	ts.Setenv("RESOLVER", w.Resolver.Addr())
}

// scriptWorld is the world of one script.
type scriptWorld struct {
	*world.World
	broken *atomic.Bool
}

func cmdDelegate(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: delegate FILE")
	}
	records := regexp.MustCompile(`(?m)^_acme-challenge\.\S+\s+CNAME\s+\S+$`).FindAllString(ts.ReadFile(args[0]), -1)
	if len(records) == 0 {
		ts.Fatalf("no CNAME record in %s", args[0])
	}
	ts.Check(ts.Value("world").(*scriptWorld).Corp.Add(records...))
}

func cmdStopCA(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(ts.Value("world").(*scriptWorld).CA.Close())
}

func cmdStopServer(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(ts.Value("world").(*scriptWorld).Server.Stop())
}

func cmdStartServer(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(ts.Value("world").(*scriptWorld).StartServer(context.Background()))
}

func cmdAPI(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: api METHOD PATH [BODY]")
	}
	request, err := http.NewRequest(args[0], ts.Getenv("SERVER")+args[1], strings.NewReader(strings.Join(args[2:], " ")))
	ts.Check(err)
	request.Header.Set("X-Api-User", ts.Getenv("API_USER"))
	request.Header.Set("X-Api-Key", ts.Getenv("API_KEY"))
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d %s\n", response.StatusCode, body)
}

func cmdDNS(ts *testscript.TestScript, _ bool, args []string) {
	m := new(dns.Msg).SetQuestion(args[0]+"."+world.Zone+".", dns.TypeTXT)
	r, _, err := (&dns.Client{Net: "tcp"}).Exchange(m, ts.Getenv("DNS"))
	ts.Check(err)
	if !r.Response {
		ts.Fatalf("the query came back")
	}
	fmt.Fprintln(ts.Stdout(), dns.RcodeToString[r.Rcode])
	for _, rr := range r.Answer {
		fmt.Fprintln(ts.Stdout(), rr.(*dns.TXT).Txt)
	}
}

func cmdSetenv(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: setenv NAME FILE [REGEXP]")
	}
	text := strings.TrimSpace(ts.ReadFile(args[1]))
	if len(args) == 3 {
		groups := regexp.MustCompile(args[2]).FindStringSubmatch(text)
		if len(groups) < 2 {
			ts.Fatalf("%s does not match", args[1])
		}
		text = groups[1]
	}
	ts.Setenv(args[0], text)
}

func cmdBreakCA(broken bool) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, _ []string) {
		ts.Value("world").(*scriptWorld).broken.Store(broken)
	}
}

func cmdOccupy(ts *testscript.TestScript, _ bool, _ []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { listener.Close() })
	ts.Setenv("BUSY", listener.Addr().String())
}

func cmdSQLite(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: sqlite FILE SQL")
	}
	db, err := sql.Open("sqlite", "file:"+ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(args[1])
	ts.Check(err)
}
