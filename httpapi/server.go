package httpapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Defaults of [Server].
const (
	DefaultHeaderTimeout = 5 * time.Second
	DefaultReadTimeout   = 10 * time.Second
	DefaultWriteTimeout  = 30 * time.Second
	DefaultIdleTimeout   = time.Minute
	DefaultDrainTimeout  = 10 * time.Second
	DefaultMaxHeader     = 16 << 10

	DefaultMaxConns          = 4096
	DefaultMaxConnsPerClient = 1024
)

// Server serves a handler with every time and size bounded. Only Handler must
// be set. The fields are not changed after Serve was called.
type Server struct {
	Handler http.Handler
	// TLS makes the server speak HTTPS (and HTTP/2). nil: HTTP in clear.
	TLS *tls.Config
	// Log gets what net/http has to say, such as failed handshakes, at Debug.
	// nil: discard.
	Log *slog.Logger

	HeaderTimeout time.Duration // to receive the header. 0: DefaultHeaderTimeout
	ReadTimeout   time.Duration // to receive a whole request. 0: DefaultReadTimeout
	WriteTimeout  time.Duration // from the header to the end of the reply. 0: DefaultWriteTimeout
	IdleTimeout   time.Duration // between requests of a connection. 0: DefaultIdleTimeout
	DrainTimeout  time.Duration // for requests under way when Serve ends. 0: DefaultDrainTimeout
	MaxHeader     int           // bytes, more or less. 0: DefaultMaxHeader

	// MaxConns bounds the connections of all listeners together, and
	// MaxConnsPerClient those of one IPv4 address or IPv6 /64 prefix. One too many
	// costs the one that has been idle the longest. 0: the defaults.
	MaxConns, MaxConnsPerClient int
}

// Serve accepts connections on listeners, one or more, until ctx ends. Then it
// closes them, lets the requests under way finish for DrainTimeout, cuts off
// the rest, and returns nil. It returns an error when a listener fails. In
// every case the listeners are closed and no goroutine is left.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	server := s.httpServer()
	failed := make(chan error, len(listeners))
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() {
			serve := server.Serve
			if s.TLS != nil {
				serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
			}
			if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serving HTTP on %s: %w", l.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(s.DrainTimeout, DefaultDrainTimeout))
	defer cancel()
	if server.Shutdown(drain) != nil {
		_ = server.Close() // cut off; nothing is left to report it to
	}
	serving.Wait()
	return err
}

func (s *Server) httpServer() *http.Server {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	conns := newConnSet(cmp.Or(s.MaxConns, DefaultMaxConns), cmp.Or(s.MaxConnsPerClient, DefaultMaxConnsPerClient))
	server := &http.Server{
		ConnState: conns.observe,
		// Every stream may hold a body and a goroutine.
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 16, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: MaxBody,
		},
		Handler:           s.Handler,
		ReadHeaderTimeout: cmp.Or(s.HeaderTimeout, DefaultHeaderTimeout),
		ReadTimeout:       cmp.Or(s.ReadTimeout, DefaultReadTimeout),
		WriteTimeout:      cmp.Or(s.WriteTimeout, DefaultWriteTimeout),
		IdleTimeout:       cmp.Or(s.IdleTimeout, DefaultIdleTimeout),
		// net/http adds 4 KiB to its bound, and on a connection that is used
		// again it may have read up to 4 KiB more before it counts.
		MaxHeaderBytes: cmp.Or(s.MaxHeader, DefaultMaxHeader) - 4<<10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if s.TLS != nil {
		server.TLSConfig = s.TLS.Clone()
	}
	return server
}
