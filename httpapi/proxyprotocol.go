package httpapi

import (
	"bytes"
	"context"
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

// maxPending bounds the connections of proxies whose header is awaited.
const maxPending = 1024

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

	start    sync.Once
	accepted chan accepted
	open     context.Context // until Close
	shut     context.CancelFunc
	running  sync.WaitGroup
}

type accepted struct {
	conn net.Conn
	err  error
}

// Accept returns the next connection whose client is known. Who is slow to send
// a header keeps nobody waiting.
func (l *ProxyListener) Accept() (net.Conn, error) {
	l.begin()
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.open.Done():
		return nil, net.ErrClosed
	}
}

// Close ends the listener, and the connections whose header is awaited. When it
// returns, no goroutine is left.
func (l *ProxyListener) Close() error {
	l.begin()
	l.shut()
	err := l.Listener.Close()
	l.running.Wait()
	return err
}

func (l *ProxyListener) begin() {
	l.start.Do(func() {
		l.accepted = make(chan accepted)
		l.open, l.shut = context.WithCancel(context.Background())
		l.running.Go(l.run)
	})
}

// run accepts, and has the header of each connection read beside the others.
func (l *ProxyListener) run() {
	pending := make(chan struct{}, maxPending)
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			// The caller of Accept decides whether to go on, and when.
			if !l.hand(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if err != nil || !contains(l.Trusted, plain(peer.Addr())) {
			l.hand(accepted{conn: conn})
			continue
		}
		select {
		case pending <- struct{}{}:
		case <-l.open.Done():
			_ = conn.Close()
			return
		}
		l.running.Go(func() {
			defer func() { <-pending }()
			l.greet(conn)
		})
	}
}

// hand gives a connection to the caller of Accept. It reports whether there will
// be another one.
func (l *ProxyListener) hand(a accepted) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.open.Done():
		if a.conn != nil {
			_ = a.conn.Close()
		}
		return false
	}
}

// greet reads the header of a proxy's connection, and hands it on or closes it.
func (l *ProxyListener) greet(conn net.Conn) {
	stop := context.AfterFunc(l.open, func() { _ = conn.Close() }) // Close does not wait for a slow one
	proxied, err := l.proxied(conn)
	if !stop() {
		return
	}
	if err == nil {
		l.hand(accepted{conn: proxied})
		return
	}
	// EOF is a look whether the port is open.
	if l.Log != nil && !errors.Is(err, io.EOF) {
		l.Log.Warn("a trusted proxy was cut off", "client", conn.RemoteAddr().String(), "err", err)
	}
	_ = conn.Close()
}

// proxied returns conn after its header, as the connection of the client.
func (l *ProxyListener) proxied(conn net.Conn) (net.Conn, error) {
	timeout := l.Timeout
	if timeout <= 0 {
		timeout = DefaultProxyTimeout
	}
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	source, err := readProxyHeader(conn)
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if !source.IsValid() {
		return conn, nil
	}
	return &proxiedConn{conn, net.TCPAddrFromAddrPort(source)}, nil
}

// proxiedConn is a connection in the name of a client.
type proxiedConn struct {
	net.Conn
	source net.Addr
}

func (c *proxiedConn) RemoteAddr() net.Addr { return c.source }

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
