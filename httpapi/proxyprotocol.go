package httpapi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// DefaultProxyTimeout is how long a proxy may take to send its header.
	DefaultProxyTimeout = 5 * time.Second

	proxyFixed   = 16   // bytes before the addresses
	proxyMaximum = 4096 // bytes after them; a header with the details of TLS has some hundred
)

// What the headers of version 2, and those of version 1, begin with.
var (
	proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")
	proxyVersion1  = []byte("PROXY ")
)

var (
	errProxyVersion1 = errors.New("it speaks version 1 of the PROXY protocol: have it send version 2")
	errNoProxyHeader = errors.New("it sends no header of the PROXY protocol")
	errProxyHeader   = errors.New("its header of the PROXY protocol is malformed")
)

// ProxyListener accepts connections from proxies that begin with a header of
// the PROXY protocol, version 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt),
// which says for whom they ask. It comes before TLS.
//
// A trusted proxy must send the header: to guess whether it did would leave to
// its clients to send one. From anybody else no header is read, so that one is
// a malformed request.
type ProxyListener struct {
	net.Listener
	Trusted []netip.Prefix
	// Timeout is for the header to arrive. 0: DefaultProxyTimeout.
	Timeout time.Duration
	// Log is told about proxies that send no good header. nil: discard.
	Log *slog.Logger
}

// Accept returns the next connection without having read from it: who is slow
// to send a header keeps nobody waiting.
func (l *ProxyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || !contains(l.Trusted, plain(peer.Addr())) {
		return conn, nil
	}
	return &proxiedConn{Conn: conn, listener: l}, nil
}

// proxiedConn reads the header when it is first asked for the client's address
// or for data. net/http asks for the address first, in the goroutine of the
// connection.
type proxiedConn struct {
	net.Conn
	listener *ProxyListener

	once   sync.Once
	source net.Addr
	err    error
}

func (c *proxiedConn) RemoteAddr() net.Addr {
	c.once.Do(c.open)
	return c.source
}

func (c *proxiedConn) Read(p []byte) (int, error) {
	if c.once.Do(c.open); c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}

// open reads the header. Where there is no good one, the source is the proxy
// itself, and nothing can be read.
func (c *proxiedConn) open() {
	c.source = c.Conn.RemoteAddr()
	timeout := c.listener.Timeout
	if timeout <= 0 {
		timeout = DefaultProxyTimeout
	}
	err := c.Conn.SetReadDeadline(time.Now().Add(timeout))
	if err == nil {
		var source netip.AddrPort
		if source, err = readProxyHeader(c.Conn); source.IsValid() {
			c.source = net.TCPAddrFromAddrPort(source)
		}
	}
	if err == nil {
		err = c.Conn.SetReadDeadline(time.Time{})
	}
	if err == nil {
		return
	}
	// To net/http this is the end of the connection: there is nobody to whom
	// an answer could be sent.
	c.err = &net.OpError{Op: "read", Net: "tcp", Addr: c.source, Err: err}
	if log := c.listener.Log; log != nil && !errors.Is(err, io.EOF) { // EOF: a look whether the port is open
		log.Warn("a trusted proxy was cut off", "client", c.source.String(), "err", err)
	}
}

// readProxyHeader reads one header, and not a byte more. The address is invalid
// where the connection is the proxy's own (the command LOCAL), or where the
// header does not say whose it is.
func readProxyHeader(r io.Reader) (netip.AddrPort, error) {
	var fixed [proxyFixed]byte
	for n := 0; n < proxyFixed; {
		m, err := r.Read(fixed[n:])
		n += m
		if other := notSignature(fixed[:n]); other != nil {
			return netip.AddrPort{}, other
		}
		switch {
		case n == proxyFixed:
		case err == io.EOF && n > 0:
			return netip.AddrPort{}, errProxyHeader
		case err != nil:
			return netip.AddrPort{}, err
		}
	}
	versionCommand, family := fixed[12], fixed[13]
	length := int(binary.BigEndian.Uint16(fixed[14:]))
	if versionCommand>>4 != 2 || versionCommand&0xf > 1 || length > proxyMaximum {
		return netip.AddrPort{}, errProxyHeader
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = errProxyHeader
		}
		return netip.AddrPort{}, err
	}
	if versionCommand&0xf == 0 { // LOCAL: whatever follows is to be ignored
		return netip.AddrPort{}, nil
	}
	return proxySource(family, rest)
}

// notSignature says what it is that begins with got, if it cannot become a
// header of version 2. That need not be as long as one, and must not be waited
// for.
func notSignature(got []byte) error {
	begins := func(with []byte) bool {
		n := min(len(got), len(with))
		return bytes.Equal(got[:n], with[:n])
	}
	switch {
	case begins(proxySignature):
		return nil
	case !begins(proxyVersion1):
		return errNoProxyHeader
	case len(got) >= len(proxyVersion1):
		return errProxyVersion1
	}
	return nil
}

// proxySource returns the source address of a header of the command PROXY.
func proxySource(family byte, rest []byte) (netip.AddrPort, error) {
	size := 0
	switch family {
	case 0x11: // TCP over IPv4: two addresses, two ports
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	case 0x00, 0x31: // unspecified, and a Unix socket: the connection's own address counts
		return netip.AddrPort{}, nil
	default:
		return netip.AddrPort{}, fmt.Errorf("%w: it is about the protocol %#02x", errProxyHeader, family)
	}
	if len(rest) < 2*size+4 {
		return netip.AddrPort{}, errProxyHeader
	}
	addr, _ := netip.AddrFromSlice(rest[:size])
	return netip.AddrPortFrom(plain(addr), binary.BigEndian.Uint16(rest[2*size:])), nil
}
