package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// socket serves one handler over UDP and TCP at one port of the loopback address.
type socket struct {
	addr    string
	servers []*dns.Server
	group   errgroup.Group
}

func listen(ctx context.Context, handler dns.Handler) (*socket, error) {
	packets, stream, err := bind(ctx)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	s := &socket{addr: packets.LocalAddr().String()}
	started := make(chan struct{}, 2)
	for _, srv := range []*dns.Server{{PacketConn: packets}, {Listener: stream}} {
		srv.Handler = handler
		srv.NotifyStartedFunc = func() { started <- struct{}{} }
		s.servers = append(s.servers, srv)
		s.group.Go(srv.ActivateAndServe)
	}
	<-started // ActivateAndServe on a bound socket cannot fail before it tells
	<-started
	return s, nil
}

// bind finds a port that is free for both.
func bind(ctx context.Context) (net.PacketConn, net.Listener, error) {
	var lc net.ListenConfig
	var last error
	for range 20 {
		stream, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		packets, err := lc.ListenPacket(ctx, "udp", stream.Addr().String())
		if err == nil {
			return packets, stream, nil
		}
		last = errors.Join(err, stream.Close())
	}
	return nil, nil, last
}

// close stops to listen and waits for the handlers that run, for some seconds.
func (s *socket) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	for _, srv := range s.servers {
		errs = append(errs, srv.ShutdownContext(ctx))
	}
	return errors.Join(append(errs, s.group.Wait())...)
}

// send writes m, cut to what the client can take.
func send(w dns.ResponseWriter, req, m *dns.Msg) {
	size := dns.MaxMsgSize
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		size = dns.MinMsgSize
		if opt := req.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
	}
	if req.IsEdns0() != nil {
		m.SetEdns0(1232, false)
	}
	m.Truncate(size)
	_ = w.WriteMsg(m) // a client that has gone is no fault of the lab
}
