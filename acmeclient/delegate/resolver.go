package delegate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	defaultTimeout = 3 * time.Second
	udpSize        = 1232 // what passes without fragments
	defaultConf    = "/etc/resolv.conf"
)

// Resolver asks DNS servers: over UDP with EDNS (RFC 6891), and over TCP after a truncated answer. The zero value uses
// the system's servers. The fields must not be changed after the first lookup; then it is safe for concurrent use.
type Resolver struct {
	// Servers are recursive resolvers: addresses, or address:port. When there are any, all lookups go to them and
	// nowhere else, also those that would go to authoritative servers.
	Servers []string
	// ResolvConf is the file that names the system's resolvers, which are used when Servers is empty. Empty means
	// /etc/resolv.conf. Systems without such a file, like Windows, need Servers.
	ResolvConf string
	// Timeout bounds one attempt at one server. Zero means three seconds. Each server gets two.
	Timeout time.Duration
	// Dial connects to a server, at an address with port 53 unless Servers says another. Nil means net.Dialer. Tests
	// map addresses to servers on loopback with it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// ServerError says that a DNS server gave no usable answer.
type ServerError struct {
	Server string
	Name   string
	Type   string // of the question: "TXT", …
	Err    error
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("asking %s for %s %s: %v", e.Server, e.Name, e.Type, e.Err)
}

// Unwrap returns the cause.
func (e *ServerError) Unwrap() error { return e.Err }

// ResolverError says that the resolvers to ask are not known.
type ResolverError struct {
	Server string // the one that is no address; empty when there is none at all
	Err    error
}

func (e *ResolverError) Error() string {
	if e.Server != "" {
		return fmt.Sprintf("resolver %q: %v", e.Server, e.Err)
	}
	return fmt.Sprintf("finding the system's DNS resolvers: %v", e.Err)
}

// Unwrap returns the cause.
func (e *ResolverError) Unwrap() error { return e.Err }

// Hint says how to name a resolver.
func (e *ResolverError) Hint() string { return "name a resolver by its address: --resolver 192.0.2.53" }

var (
	errNoAddress = errors.New("it is neither an IP address nor address:port")
	errMismatch  = errors.New("the answer is not to our question")
)

// Check returns nil when every one of Servers is an address, or else a *ResolverError. It asks nobody.
func (r *Resolver) Check() error {
	if len(r.Servers) == 0 {
		return nil
	}
	_, err := r.recursive()
	return err
}

// recursive returns the resolvers to ask, as address:port.
func (r *Resolver) recursive() ([]string, error) {
	if len(r.Servers) == 0 {
		return r.system()
	}
	servers := make([]string, 0, len(r.Servers))
	for _, s := range r.Servers {
		if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, 53).String())
		} else if addrPort, err := netip.ParseAddrPort(s); err == nil {
			servers = append(servers, addrPort.String())
		} else {
			// A host name would have to be looked up elsewhere first.
			return nil, &ResolverError{s, errNoAddress}
		}
	}
	return servers, nil
}

func (r *Resolver) system() ([]string, error) {
	path := r.ResolvConf
	if path == "" {
		path = defaultConf
	}
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil, &ResolverError{Err: err}
	}
	if len(conf.Servers) == 0 {
		return nil, &ResolverError{Err: fmt.Errorf("%s names no server", path)}
	}
	servers := make([]string, 0, len(conf.Servers))
	for _, s := range conf.Servers {
		servers = append(servers, net.JoinHostPort(s, conf.Port))
	}
	return servers, nil
}

// lookup asks the recursive resolvers in turn until one says what there is, be it nothing.
func (r *Resolver) lookup(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	servers, err := r.recursive()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, server := range servers {
		reply, err := r.ask(ctx, server, name, qtype, true)
		if err == nil {
			return reply, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// ask puts one question to one server, twice if need be. A reply that it returns is NOERROR or NXDOMAIN; all else is a
// *ServerError.
func (r *Resolver) ask(ctx context.Context, server, name string, qtype uint16, recurse bool) (*dns.Msg, error) {
	reply, err := r.exchange(ctx, server, name, qtype, recurse)
	if err == nil && reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		err = fmt.Errorf("it answers %s", rcode(reply.Rcode))
	}
	if err != nil {
		return nil, &ServerError{Server: server, Name: name, Type: dns.TypeToString[qtype], Err: err}
	}
	return reply, nil
}

func rcode(code int) string {
	if text, ok := dns.RcodeToString[code]; ok {
		return text
	}
	return fmt.Sprintf("RCODE%d", code)
}

func (r *Resolver) exchange(ctx context.Context, server, name string, qtype uint16, recurse bool) (*dns.Msg, error) {
	query := new(dns.Msg).SetQuestion(name, qtype)
	query.RecursionDesired = recurse
	query.SetEdns0(udpSize, false)
	network := "udp"
	var last error
	// Two attempts may be lost; a truncated answer and a server that does not know EDNS need one more each.
	for lost := 0; lost < 2; {
		reply, err := r.attempt(ctx, network, server, query)
		switch {
		case err != nil:
			last = err
			if ctx.Err() != nil || !isTimeout(err) {
				return nil, err
			}
			lost++
		case reply.Truncated && network == "udp":
			network = "tcp"
		case reply.Rcode == dns.RcodeFormatError && query.IsEdns0() != nil:
			query.Extra = nil // RFC 6891 §7: a server of before EDNS
		default:
			return reply, nil
		}
	}
	return nil, last
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// attempt sends query once and waits for the reply to it.
func (r *Resolver) attempt(ctx context.Context, network, server string, query *dns.Msg) (*dns.Msg, error) {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: raw, UDPSize: udpSize}
	defer conn.Close()
	// The end of ctx, whether by time or by its owner, ends reads and writes.
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	query.Id = dns.Id() // from crypto/rand, anew for each attempt
	if err := conn.WriteMsg(query); err != nil {
		return nil, err
	}
	for {
		packet, err := conn.ReadMsgHeader(nil)
		if err != nil {
			return nil, err
		}
		reply, err := parseReply(packet, query)
		if err == nil || network == "tcp" {
			return reply, err
		}
		// Over UDP it may be late, or forged; the true one may yet come.
	}
}

// parseReply reads a packet, which must be the reply to query.
func parseReply(packet []byte, query *dns.Msg) (*dns.Msg, error) {
	reply := new(dns.Msg)
	if err := reply.Unpack(packet); err != nil {
		return nil, err
	}
	if !reply.Response || reply.Id != query.Id || reply.Opcode != dns.OpcodeQuery {
		return nil, errMismatch
	}
	if len(reply.Question) == 0 && reply.Rcode == dns.RcodeFormatError {
		return reply, nil // servers that cannot read a query do not repeat it
	}
	if len(reply.Question) != 1 {
		return nil, errMismatch
	}
	got, want := reply.Question[0], query.Question[0]
	if got.Qtype != want.Qtype || got.Qclass != want.Qclass || !sameName(got.Name, want.Name) {
		return nil, errMismatch
	}
	return reply, nil
}

// sameName compares as DNS does: without regard to case, with or without the final dot.
func sameName(a, b string) bool { return dns.CanonicalName(a) == dns.CanonicalName(b) }
