package httpapi

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// The bounds, in bytes, of what a client can put into a line of the log.
const (
	maxLoggedPath   = 128
	maxLoggedMethod = 16
)

// recorder remembers how a request was answered.
type recorder struct {
	http.ResponseWriter
	status int
	code   string // of the error
	cause  error  // for the log only
	token  string // ID of the token that came with a registration
}

// WriteHeader implements http.ResponseWriter.
func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (rec *recorder) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	return rec.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// note keeps the cause of a failure for the log.
func note(w http.ResponseWriter, cause error) {
	if rec, ok := w.(*recorder); ok {
		rec.cause = cause
	}
}

// panicked answers a request whose handler panicked. The server goes on.
func (a *api) panicked(rec *recorder, r *http.Request, p any) {
	a.log.Error("a request handler panicked", "client", clientAddr(r).String(), "path", loggedPath(r), "panic", p, "stack", string(debug.Stack()))
	if rec.status == 0 {
		writeError(rec, http.StatusInternalServerError, codeInternal)
	}
}

// done logs a request, and tells the observer. Neither headers nor bodies are
// logged: they hold the secrets. The client and the status come before all that
// the client chose, so that programs which ban clients cannot be made to ban
// others.
func (a *api) done(rec *recorder, r *http.Request, took time.Duration) {
	endpoint := a.endpoint(r)
	defer a.observe(Observation{Endpoint: endpoint, Status: rec.status, Code: rec.code, Duration: took})

	level := slog.LevelInfo
	switch {
	case rec.status >= 500:
		level = slog.LevelWarn
	case endpoint == "health":
		level = slog.LevelDebug
	}
	if !a.log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("client", clientAddr(r).String()),
		slog.Int("status", rec.status),
	}
	if rec.code != "" {
		attrs = append(attrs, slog.String("code", rec.code))
	}
	attrs = append(attrs,
		slog.String("method", r.Method[:min(len(r.Method), maxLoggedMethod)]),
		slog.String("path", loggedPath(r)),
		slog.Duration("took", took),
	)
	if rec.token != "" {
		attrs = append(attrs, slog.String("token", rec.token))
	}
	if rec.cause != nil {
		attrs = append(attrs, slog.Any("err", rec.cause))
	}
	a.log.LogAttrs(r.Context(), level, "request", attrs...)
}

func loggedPath(r *http.Request) string {
	path := withoutToken(r.URL.Path)
	return path[:min(len(path), maxLoggedPath)]
}
