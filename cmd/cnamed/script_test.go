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
//	                    nonce=PERCENT, block=DOMAIN, eab=MAC-KEY, closed, token
//	stop-server         ends its server
//	setenv NAME FILE    sets a variable to the text of a file
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

			"stop-server": cmdStopServer,
			"setenv":      cmdSetenv,
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

func cmdSetenv(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: setenv NAME FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
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
