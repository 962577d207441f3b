package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"cnamed/config"
	"cnamed/dnsserver"
	"cnamed/httpapi"
)

// sockets are all that the server listens on.
type sockets struct {
	dns []*dnsserver.Endpoint
	api []net.Listener
}

// openSockets takes what the service manager hands over and binds the rest: all
// of the DNS or of the API sockets are inherited, or none of them. On an error
// nothing stays bound.
func openSockets(ctx context.Context, c *config.Config) (_ *sockets, err error) {
	s := &sockets{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.inherit(); err != nil {
		return nil, err
	}
	if len(s.dns) == 0 {
		for i, address := range c.DNS.Listen {
			endpoint, err := dnsserver.Listen(ctx, address)
			if err != nil {
				return nil, c.Problem("dns.listen", i, err)
			}
			s.dns = append(s.dns, endpoint)
		}
	}
	if len(s.api) == 0 {
		for i, address := range c.API.Listen {
			listener, err := new(net.ListenConfig).Listen(ctx, networkOf(address), address)
			if err != nil {
				return nil, c.Problem("api.listen", i, listenHint(err, address))
			}
			s.api = append(s.api, listener)
		}
	}
	return s, nil
}

// inherit takes the sockets that systemd opened (sd_listen_fds(3)). Their
// FileDescriptorName says what they are for: dns or api.
func (s *sockets) inherit() error {
	var packets []net.PacketConn
	var listeners []net.Listener
	for name, files := range activation.FilesWithNames() {
		for _, file := range files {
			listener, conn, err := socketOf(file)
			switch {
			case err != nil:
				return fmt.Errorf("inherited socket %q: %w", name, err)
			case name == "api" && listener != nil:
				s.api = append(s.api, listener)
			case name == "dns" && listener != nil:
				listeners = append(listeners, listener)
			case name == "dns":
				packets = append(packets, conn)
			default:
				return withHint(fmt.Errorf("inherited socket %q is for neither dns nor api", name),
					"set FileDescriptorName=dns or FileDescriptorName=api in the socket unit")
			}
		}
	}
	if len(packets)+len(listeners) == 0 {
		return nil
	}
	if len(packets) == 0 || len(listeners) == 0 {
		return withHint(errors.New("the inherited dns sockets are not for both UDP and TCP"),
			"the socket unit needs ListenDatagram=53 and ListenStream=53")
	}
	endpoint, err := dnsserver.Inherit(packets, listeners)
	if err != nil {
		return err
	}
	s.dns = append(s.dns, endpoint)
	return nil
}

func socketOf(file *os.File) (net.Listener, net.PacketConn, error) {
	defer file.Close()
	if listener, err := net.FileListener(file); err == nil {
		return listener, nil, nil
	}
	packets, err := net.FilePacketConn(file)
	return nil, packets, err
}

// describe says where the server can be reached.
func (s *sockets) describe(mode config.TLSMode) string {
	var where []string
	for _, endpoint := range s.dns {
		where = append(where, "dns "+endpoint.Addr().String())
	}
	scheme := "https"
	if mode == config.TLSNone {
		scheme = "http"
	}
	for _, listener := range s.api {
		where = append(where, "api "+scheme+"://"+listener.Addr().String())
	}
	return strings.Join(where, ", ")
}

// Close frees the sockets of a server that did not come to serve; those that
// were served are closed already.
func (s *sockets) Close() {
	for _, endpoint := range s.dns {
		_ = endpoint.Close()
	}
	for _, listener := range s.api {
		_ = listener.Close()
	}
}

// networkOf returns tcp4 or tcp6 for a literal address, since the net package
// would take 0.0.0.0 for both families; and tcp for none.
func networkOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	switch addr, err := netip.ParseAddr(host); {
	case err != nil:
		return "tcp"
	case addr.Is4():
		return "tcp4"
	default:
		return "tcp6"
	}
}

// listenHint says what mends the failure to bind a port.
func listenHint(err error, address string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(address)
		return withHint(err, fmt.Sprintf("another program has the port; see: ss -lntp 'sport = :%s', or choose another with --api-listen", port))
	case errors.Is(err, syscall.EACCES):
		return withHint(err, "a port below 1024 needs CAP_NET_BIND_SERVICE or a socket unit of systemd; or choose another with --api-listen")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return withHint(err, "no interface of this machine has that address; leave it out to listen on all: --api-listen :443")
	}
	return err
}

// connectionBounds returns how many connections the DNS server and the API may
// have, so that together they leave files for the database and the rest.
func connectionBounds() (dns, api int) {
	dns, api = 1024, httpapi.DefaultMaxConns
	if n := openFiles(); n > 0 && n < uint64(4*api) {
		dns, api = min(dns, int(n/4)), min(api, int(n/2))
	}
	return dns, api
}
