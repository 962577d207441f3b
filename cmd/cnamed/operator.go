package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cnamed/httpapi"
	"cnamed/registry"
)

// The operator's API is how commands on the machine of the server (cnamed token)
// reach the registry while the server has it open. It is HTTP on a Unix socket in
// the data folder that only the server's user, and root, may connect to; there is
// no other authentication. It is internal: command and server are the same
// version of this program, and nobody else is promised anything.
//
// A group of commands has
//
//   - a function of type operatorRoutes beside it, which is entered in
//     operatorHandler, with handlers that do the work on the registry and answer by
//     operatorReply and operatorFail;
//   - operatorFlags, whose connect returns an operator, whose call makes a request.
//
// Where no server runs, connect opens the database itself and serves the same
// handlers to itself: a command is written once.
const operatorSocket = "control.sock"

// operatorRoutes adds the requests of one group of commands.
type operatorRoutes func(mux *http.ServeMux, reg *registry.Registry)

func operatorHandler(reg *registry.Registry) http.Handler {
	mux := http.NewServeMux()
	for _, add := range []operatorRoutes{
		tokenRoutes,
		accountRoutes,
	} {
		add(mux, reg)
	}
	return mux
}

// operatorTimeout bounds how long an answer may take: some are long, and some
// commands change much.
const operatorTimeout = 10 * time.Minute

// operatorServer serves the operator's API of a running server.
type operatorServer struct {
	listener net.Listener // nil: there is none
	path     string
	http     httpapi.Server
}

// newOperatorServer listens on the socket. Without it the server does its work
// all the same, so that a failure is only logged.
func newOperatorServer(data string, reg *registry.Registry, log *slog.Logger) *operatorServer {
	s := &operatorServer{path: filepath.Join(data, operatorSocket), http: operatorHTTP(reg, log)}
	var err error
	if s.listener, err = listenPrivately(s.path); err != nil {
		log.Warn("commands of the operator will not reach this server", "err", err, "hint", "is the path of --data short enough for a socket?")
	}
	return s
}

func operatorHTTP(reg *registry.Registry, log *slog.Logger) httpapi.Server {
	return httpapi.Server{Handler: operatorHandler(reg), Log: log, ReadTimeout: operatorTimeout, WriteTimeout: operatorTimeout}
}

// Serve serves until ctx ends.
func (s *operatorServer) Serve(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	return s.http.Serve(ctx, s.listener)
}

// Close removes the socket.
func (s *operatorServer) Close() {
	if s.listener != nil {
		_ = s.listener.Close()
		_ = os.Remove(s.path)
	}
}

// listenPrivately binds a socket that is for its owner only from the first
// moment on: it gets its mode in a folder that nobody else may enter, and then
// its place. What is in that place is of a server that is no more, since the
// caller has the lock of the database.
func listenPrivately(path string) (net.Listener, error) {
	folder := filepath.Join(filepath.Dir(path), ".control")
	if err := os.RemoveAll(folder); err != nil {
		return nil, err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	bound := filepath.Join(folder, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: bound, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // it will have another name by then
	err = os.Chmod(bound, 0o600)
	if err == nil {
		err = os.Rename(bound, path)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// operatorProblem is an error on its way to the command.
type operatorProblem struct {
	Message string `json:"error"`
	Remedy  string `json:"hint,omitempty"`
}

func (p *operatorProblem) Error() string { return p.Message }
func (p *operatorProblem) Hint() string  { return p.Remedy }

// operatorReply answers with v.
func operatorReply(w http.ResponseWriter, v any) { writeOperator(w, http.StatusOK, v) }

// operatorFail answers with an error and its hint, or with the remedy if it has
// none.
func operatorFail(w http.ResponseWriter, err error, remedy string) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, registry.ErrNotFound):
		status = http.StatusNotFound
	case !errors.Is(err, registry.ErrStore):
		status = http.StatusBadRequest
	}
	writeOperator(w, status, operatorProblem{err.Error(), cmp.Or(hintOf(err), remedy)})
}

func writeOperator(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a command that went away cannot be told
}

// operatorRead reads the body of a request, or answers why not.
func operatorRead(w http.ResponseWriter, r *http.Request, into any) bool {
	err := json.NewDecoder(r.Body).Decode(into)
	if err != nil && err != io.EOF {
		operatorFail(w, err, "")
		return false
	}
	return true
}
