package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// portAttempts bounds the search for a port that is free for both transports.
const portAttempts = 16

// An Endpoint is sockets to serve DNS on, bound but not served yet.
type Endpoint struct {
	packets   []*packetSocket
	listeners []net.Listener
}

// A ListenError says which socket could not be bound. Hint says what to do about it.
type ListenError struct {
	Network string // "udp" or "tcp"
	Addr    string
	Err     error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("listening for DNS on %s (%s): %v", e.Addr, e.Network, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

// Hint returns the command or setting that mends the error, "" if that is not known.
func (e *ListenError) Hint() string {
	_, port, _ := net.SplitHostPort(e.Addr)
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return fmt.Sprintf("\"ss -lnptu 'sport = :%s'\" shows who has the port; systemd-resolved keeps to 127.0.0.53, so "+
			"listen on the public address instead of all, or set DNSStubListener=no in /etc/systemd/resolved.conf", port)
	case errors.Is(e.Err, syscall.EACCES), errors.Is(e.Err, syscall.EPERM):
		return "ports under 1024 need a privilege: AmbientCapabilities=CAP_NET_BIND_SERVICE or a socket unit in systemd, " +
			"or \"setcap cap_net_bind_service=+ep\" on the binary"
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return "\"ip address\" shows the addresses of this machine; behind NAT listen on the private one"
	}
	return ""
}

// Listen binds addr for UDP and TCP, as in "192.0.2.1:53", "[2001:db8::1]:53" or ":53" for all addresses of both
// families; 0.0.0.0 means all of IPv4, [::] all of IPv6. Port 0 takes one that is free for both. The error is a
// *ListenError if the system refuses.
func Listen(ctx context.Context, addr string) (*Endpoint, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: write it as in 192.0.2.1:53, [2001:db8::1]:53 or :53", addr)
	}
	family := ""
	if host != "" {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return nil, fmt.Errorf("listen address %q: %q is not an IP address", addr, host)
		}
		// The net package would take 0.0.0.0 for both families.
		if family = "6"; ip.Is4() {
			family = "4"
		}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, fmt.Errorf("listen address %q: %q is not a port from 0 to 65535", addr, port)
	}
	for attempt := 1; ; attempt++ {
		e, err := listen(ctx, family, addr)
		// TCP got a free port, but somebody has it for UDP: try another.
		if port == "0" && attempt < portAttempts && errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		return e, err
	}
}

func listen(ctx context.Context, family, addr string) (*Endpoint, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp"+family, addr)
	if err != nil {
		return nil, &ListenError{"tcp", addr, systemError(err)}
	}
	e := &Endpoint{listeners: []net.Listener{listener}}
	host, _, _ := net.SplitHostPort(addr)
	bound := net.JoinHostPort(host, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
	conns, err := listenUDP(ctx, "udp"+family, bound, runtime.GOMAXPROCS(0))
	if err != nil {
		e.Close()
		return nil, &ListenError{"udp", bound, systemError(err)}
	}
	for _, conn := range conns {
		if err := e.addPackets(conn, max(1, runtime.GOMAXPROCS(0)/len(conns))); err != nil {
			e.Close()
			return nil, &ListenError{"udp", bound, err}
		}
	}
	return e, nil
}

// systemError takes off what the net package says of the address, which ListenError says itself.
func systemError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// Inherit makes an endpoint of sockets that somebody else bound, such as systemd. It takes them over: Serve and Close
// close them. Packet connections must be UDP.
func Inherit(packets []net.PacketConn, listeners []net.Listener) (*Endpoint, error) {
	e := &Endpoint{listeners: listeners}
	for _, p := range packets {
		conn, ok := p.(*net.UDPConn)
		if !ok {
			return nil, fmt.Errorf("the inherited socket %s is not UDP", p.LocalAddr())
		}
		if err := e.addPackets(conn, runtime.GOMAXPROCS(0)); err != nil {
			return nil, fmt.Errorf("the inherited socket %s: %w", p.LocalAddr(), err)
		}
	}
	return e, nil
}

func (e *Endpoint) addPackets(conn *net.UDPConn, readers int) error {
	socket, err := newPacketSocket(conn, readers)
	e.packets = append(e.packets, socket)
	return err
}

// Addr is where the endpoint listens: with the port that was chosen when 0 was asked for. An endpoint without sockets
// has the zero address.
func (e *Endpoint) Addr() netip.AddrPort {
	var addr netip.AddrPort
	switch {
	case len(e.listeners) > 0:
		if tcp, ok := e.listeners[0].Addr().(*net.TCPAddr); ok {
			addr = tcp.AddrPort()
		}
	case len(e.packets) > 0:
		addr = e.packets[0].conn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// String describes the endpoint for people, as in "udp+tcp 192.0.2.1:53".
func (e *Endpoint) String() string {
	var networks []string
	if len(e.packets) > 0 {
		networks = append(networks, "udp")
	}
	if len(e.listeners) > 0 {
		networks = append(networks, "tcp")
	}
	return strings.Join(networks, "+") + " " + e.Addr().String()
}

// Close closes the sockets of an endpoint that is not served. Serve does it for one that is.
func (e *Endpoint) Close() error {
	var errs []error
	for _, p := range e.packets {
		errs = append(errs, p.Close())
	}
	for _, l := range e.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// open makes the sockets ready for their readers.
func (e *Endpoint) open(plain bool) error {
	for _, p := range e.packets {
		if err := p.open(plain); err != nil {
			return fmt.Errorf("reading DNS queries: %w", err)
		}
	}
	return nil
}

// interrupt makes the reads return.
func (e *Endpoint) interrupt() {
	for _, p := range e.packets {
		p.source.interrupt()
	}
	for _, l := range e.listeners {
		l.Close()
	}
}
