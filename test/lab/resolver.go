package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// ResolverConfig says where a Resolver begins and how it finds its way on the loopback address.
type ResolverConfig struct {
	// Hints maps a zone to the host:port of servers that know it. A search begins at the deepest zone that holds the
	// name; the root zone is ".".
	Hints map[string][]string
	// Map gives the real host:port of a name server, by its name ("ns1.example.org") or by the address that the DNS has
	// for it ("192.0.2.53"), since servers of a test listen neither there nor on port 53. A server that is not in the
	// map is asked at port 53 of its address.
	Map map[string]string
	// Timeout is how long one server may take. Zero means one second.
	Timeout time.Duration
}

// Resolver is a recursive resolver without cache. It follows referrals and CNAMEs, asks with UDP and, after a truncated
// answer, with TCP, and returns the whole chain.
type Resolver struct {
	socket *socket
	cfg    ResolverConfig
	byName map[string]string
	hints  map[string][]string
	ctx    context.Context // of all searches: ends with Close
	cancel context.CancelFunc
}

var (
	errDeep     = errors.New("too many steps")
	errNoAnswer = errors.New("no server gave an answer")
)

// StartResolver starts a resolver.
func StartResolver(cfg ResolverConfig) (*Resolver, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second
	}
	r := &Resolver{cfg: cfg, byName: make(map[string]string), hints: make(map[string][]string)}
	for from, to := range cfg.Map {
		if ip := net.ParseIP(from); ip != nil {
			r.byName[ip.String()] = to
		} else {
			r.byName[dns.CanonicalName(from)] = to
		}
	}
	for zone, servers := range cfg.Hints {
		r.hints[dns.CanonicalName(zone)] = servers
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var err error
	if r.socket, err = listen(r.ctx, dns.HandlerFunc(r.serve)); err != nil {
		r.cancel()
		return nil, err
	}
	return r, nil
}

// Addr returns the resolver's address, "127.0.0.1:port".
func (r *Resolver) Addr() string { return r.socket.addr }

// Close ends the searches that run, stops the resolver and waits for it.
func (r *Resolver) Close() error {
	r.cancel()
	return r.socket.close()
}

func (r *Resolver) serve(w dns.ResponseWriter, req *dns.Msg) {
	m := new(dns.Msg)
	switch {
	case len(req.Question) != 1:
		m.SetRcode(req, dns.RcodeFormatError)
	case !req.RecursionDesired:
		m.SetRcode(req, dns.RcodeRefused) // there is no cache to answer from
	default:
		m.SetReply(req)
		if err := r.resolve(m, req.Question[0], 0); err != nil {
			m = new(dns.Msg).SetRcode(req, dns.RcodeServerFailure)
		}
	}
	m.RecursionAvailable = true
	send(w, req, m)
}

// resolve fills m with the answer to q: the chain of CNAMEs and what is at its end.
func (r *Resolver) resolve(m *dns.Msg, q dns.Question, depth int) error {
	if depth > 6 {
		return errDeep
	}
	for range 12 {
		reply, err := r.iterate(q, depth)
		if err != nil {
			return err
		}
		// Servers may add the rest of the chain out of their other zones. Only what belongs to this name is taken.
		var target string
		for _, rr := range reply.Answer {
			if dns.CanonicalName(rr.Header().Name) != dns.CanonicalName(q.Name) {
				continue
			}
			m.Answer = append(m.Answer, rr)
			if cname, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME && q.Qtype != dns.TypeANY {
				target = cname.Target
			}
		}
		if target == "" {
			m.Rcode, m.Ns = reply.Rcode, soaOnly(reply.Ns)
			return nil
		}
		q.Name = target
	}
	return errDeep
}

// iterate goes from a hint down the delegations to the servers that know q.Name.
func (r *Resolver) iterate(q dns.Question, depth int) (*dns.Msg, error) {
	name := dns.CanonicalName(q.Name)
	at, servers := r.hint(name)
	for range 20 {
		reply, err := r.ask(servers, q)
		if err != nil {
			return nil, err
		}
		zone, referral := referralOf(reply, at, name)
		if !referral {
			return reply, nil
		}
		if servers, err = r.servers(reply, zone, depth); err != nil {
			return nil, err
		}
		at = zone
	}
	return nil, errDeep
}

func (r *Resolver) hint(name string) (zone string, servers []string) {
	for i := dns.CountLabel(name); i >= 0; i-- {
		zone := lastLabels(name, i)
		if servers, ok := r.hints[zone]; ok {
			return zone, servers
		}
	}
	return ".", nil
}

// referralOf returns the zone that reply refers to, which must lead from the zone at toward name.
func referralOf(reply *dns.Msg, at, name string) (zone string, ok bool) {
	if reply.Rcode != dns.RcodeSuccess || len(reply.Answer) > 0 {
		return "", false
	}
	for _, rr := range reply.Ns {
		zone := dns.CanonicalName(rr.Header().Name)
		if rr.Header().Rrtype == dns.TypeNS && zone != at && dns.IsSubDomain(at, zone) && dns.IsSubDomain(zone, name) {
			return zone, true
		}
	}
	return "", false
}

// servers returns where the name servers of the zone listen: by the map, by glue, or else by a search of its own.
func (r *Resolver) servers(referral *dns.Msg, zone string, depth int) ([]string, error) {
	var found []string
	for _, rr := range referral.Ns {
		ns, ok := rr.(*dns.NS)
		if !ok || dns.CanonicalName(ns.Hdr.Name) != zone {
			continue
		}
		host := dns.CanonicalName(ns.Ns)
		if addr, ok := r.byName[host]; ok {
			found = append(found, addr)
			continue
		}
		addrs := addresses(referral.Extra, host)
		if len(addrs) == 0 {
			m := new(dns.Msg)
			if err := r.resolve(m, dns.Question{Name: host, Qtype: dns.TypeA, Qclass: dns.ClassINET}, depth+1); err == nil {
				addrs = addresses(m.Answer, "")
			}
		}
		for _, ip := range addrs {
			if addr, ok := r.byName[ip]; ok {
				found = append(found, addr)
			} else {
				found = append(found, net.JoinHostPort(ip, "53"))
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("lab: no address of a name server of %s", zone)
	}
	return found, nil
}

// addresses returns the addresses in rrs that belong to host, or all when host is "".
func addresses(rrs []dns.RR, host string) []string {
	var found []string
	for _, rr := range rrs {
		if host != "" && dns.CanonicalName(rr.Header().Name) != host {
			continue
		}
		switch rr := rr.(type) {
		case *dns.A:
			found = append(found, rr.A.String())
		case *dns.AAAA:
			found = append(found, rr.AAAA.String())
		}
	}
	return found
}

// ask puts q to the servers in turn until one of them answers usefully.
func (r *Resolver) ask(servers []string, q dns.Question) (*dns.Msg, error) {
	for _, server := range servers {
		m := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
		m.RecursionDesired = false
		m.SetEdns0(1232, false)
		for _, network := range []string{"udp", "tcp"} {
			client := dns.Client{Net: network, Timeout: r.cfg.Timeout}
			reply, _, err := client.ExchangeContext(r.ctx, m, server)
			if err != nil || !reply.Response {
				break
			}
			if reply.Truncated && network == "udp" {
				continue
			}
			if reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError {
				return reply, nil
			}
			break
		}
	}
	return nil, errNoAnswer
}

// soaOnly keeps the SOA of a negative answer.
func soaOnly(rrs []dns.RR) []dns.RR {
	var soa []dns.RR
	for _, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeSOA {
			soa = append(soa, rr)
		}
	}
	return soa
}
