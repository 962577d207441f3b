package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"cnamed/config"
	"cnamed/registry"
	"cnamed/registry/sqlite"
)

// operatorFlags are the flags of all commands of the operator: they say which
// server is meant.
type operatorFlags struct {
	given  settings
	asJSON bool
}

func (f *operatorFlags) add(cmd *cobra.Command) {
	f.addPlace(cmd)
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print the result as JSON")
}

// addPlace adds the flags that say where the server is.
func (f *operatorFlags) addPlace(cmd *cobra.Command) {
	f.given.overrides = map[string]config.Override{}
	cmd.Flags().StringVarP(&f.given.file, "config", "c", "", "the server's TOML file (default: "+defaultConfig+" if it exists)")
	for _, setting := range config.Settings() {
		switch setting.Key {
		case "data":
			cmd.Flags().Var(&settingFlag{setting, f.given.overrides}, setting.Flag(), "the server's data folder")
		case "database":
			cmd.Flags().Var(&settingFlag{setting, f.given.overrides}, setting.Flag(), "the server's database")
		}
	}
}

// where returns the data folder and the database. Of the configuration only they
// are of interest, whatever else is wrong with it.
func (f *operatorFlags) where() (*config.Config, error) {
	c, err := f.given.load()
	for _, p := range config.AsProblems(err) {
		if p.Key == "" || p.Key == "data" || p.Key == "database" {
			return nil, p
		}
	}
	c.Data, err = filepath.Abs(c.Data)
	return c, err
}

// operatorPatience is how long a command waits for a server that has the
// database, but does not answer yet or any more.
const operatorPatience = 10 * time.Second

// connect reaches the running server, or where none runs, the database.
func (f *operatorFlags) connect(ctx context.Context) (*operator, error) {
	c, err := f.where()
	if err != nil {
		return nil, err
	}
	folder := c.Data
	patience, cancel := context.WithTimeout(ctx, operatorPatience)
	defer cancel()
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	for {
		o, err := dialOperator(ctx, folder)
		if err == nil || errors.Is(err, fs.ErrPermission) {
			return o, permissionHint(err)
		}
		o, err = openOperator(ctx, c)
		if !errors.Is(err, sqlite.ErrInUse) {
			return o, permissionHint(err)
		}
		select {
		case <-patience.Done():
			return nil, withHint(fmt.Errorf("a server uses the database in %s, but does not answer at %s", folder, operatorSocket),
				"its log says why; until then stop it, and run the command again")
		case <-ticks.C:
		}
	}
}

func permissionHint(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return withHint(err, "run the command as root, or as the user of the server")
	}
	return err
}

// operator is the way of a command to the registry.
type operator struct {
	client *http.Client
	close  func() error
}

// dialOperator connects to a running server.
func dialOperator(ctx context.Context, folder string) (*operator, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(folder, operatorSocket))
	}
	conn, err := dial(ctx, "", "")
	if err != nil {
		return nil, err
	}
	return newOperator(dial, conn.Close), nil
}

// openOperator opens the database of a server that does not run. It makes none:
// whoever names the wrong one should learn so. Nor does it migrate one: servers of
// the version of before may run on it.
func openOperator(ctx context.Context, c *config.Config) (*operator, error) {
	if err := hasDatabase(c); err != nil {
		return nil, err
	}
	store, err := openStoreAs(ctx, c, slog.New(slog.DiscardHandler), true)
	if err != nil {
		return nil, err
	}
	reg, err := registry.Open(ctx, store, registry.Options{})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	pipe := newPipeListener()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	server := operatorHTTP(reg, slog.New(slog.DiscardHandler))
	go func() { served <- server.Serve(serving, pipe) }()
	return newOperator(pipe.dial, func() error {
		stop()
		return errors.Join(<-served, reg.Close())
	}), nil
}

// hasDatabase returns an error if the database is a file that is not there.
func hasDatabase(c *config.Config) error {
	if c.Database != "" {
		return nil
	}
	_, err := os.Stat(sqlitePath(c))
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("there is no database in %s", c.Data),
			"name the server's data folder with --data; a new server makes its database when it starts")
	}
	return err
}

func newOperator(dial func(ctx context.Context, network, address string) (net.Conn, error), close func() error) *operator {
	transport := &http.Transport{DialContext: dial}
	return &operator{client: &http.Client{Transport: transport}, close: func() error {
		transport.CloseIdleConnections()
		return close()
	}}
}

// Close ends the way, and closes the database if the command has opened it.
func (o *operator) Close() error { return o.close() }

// send makes a request with in as its body, unless it is nil, and returns a
// reply that is a success. The caller closes its body.
func (o *operator) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://operator"+path, body)
	if err != nil {
		return nil, err
	}
	response, err := o.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	problem := new(operatorProblem)
	if err := json.NewDecoder(response.Body).Decode(problem); err != nil || problem.Message == "" {
		return nil, withHint(fmt.Errorf("the server answers %s", response.Status),
			"is it of the same version as this command? restart it after an upgrade")
	}
	return nil, problem
}

// call makes a request and decodes the reply into out, unless that is nil.
func (o *operator) call(ctx context.Context, method, path string, in, out any) error {
	response, err := o.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	return nil
}

// pipeListener is a listener in memory, for a command that serves itself.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
