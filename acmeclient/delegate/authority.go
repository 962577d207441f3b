package delegate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// Zone is a zone and who is authoritative for it.
type Zone struct {
	Name    string // with the final dot
	Servers []Authority
}

// Authority is one name server of a zone with all its addresses.
type Authority struct {
	Name      string // with the final dot
	Addresses []string
}

// maxServers bounds how many addresses of a zone's servers are asked; the largest zones have 26.
const maxServers = 32

// Zone finds the zone that holds name: the closest name at or above it that has an SOA record (RFC 1034 §4.2.1), its NS
// records, and their addresses. It asks the recursive resolvers.
func (r *Resolver) Zone(ctx context.Context, name string) (Zone, error) {
	apex, err := r.apex(ctx, dns.CanonicalName(name))
	if err != nil {
		return Zone{}, fmt.Errorf("finding the zone of %s: %w", name, err)
	}
	reply, err := r.lookup(ctx, apex, dns.TypeNS)
	if err != nil {
		return Zone{}, fmt.Errorf("finding the name servers of %s: %w", apex, err)
	}
	zone := Zone{Name: apex}
	for _, rr := range reply.Answer {
		if ns, ok := rr.(*dns.NS); ok && sameName(ns.Hdr.Name, apex) {
			zone.Servers = append(zone.Servers, Authority{Name: dns.CanonicalName(ns.Ns)})
		}
	}
	if err := r.addresses(ctx, zone.Servers); err != nil {
		return Zone{}, fmt.Errorf("finding the name servers of %s: %w", apex, err)
	}
	return zone, nil
}

// apex walks up from name to the first that has an SOA record.
func (r *Resolver) apex(ctx context.Context, name string) (string, error) {
	for {
		found, err := r.isApex(ctx, name)
		if err != nil {
			return "", err
		}
		if found {
			return name, nil
		}
		next, end := dns.NextLabel(name, 0)
		switch {
		case name == ".":
			return "", errors.New("no SOA record at or above it, up to the root")
		case end:
			name = "."
		default:
			name = name[next:]
		}
	}
}

// isApex reports whether name has an SOA record of its own: the one that a resolver finds by a CNAME has another owner.
func (r *Resolver) isApex(ctx context.Context, name string) (bool, error) {
	reply, err := r.lookup(ctx, name, dns.TypeSOA)
	if err != nil {
		// It may have followed a CNAME to a zone that is out of order. Beside a CNAME there is no SOA (RFC 2181 §10.1).
		alias, aliasErr := r.lookup(ctx, name, dns.TypeCNAME)
		if aliasErr == nil && cnameOf(alias.Answer, name) != "" {
			return false, nil
		}
		return false, err
	}
	return slices.ContainsFunc(reply.Answer, func(rr dns.RR) bool {
		return rr.Header().Rrtype == dns.TypeSOA && sameName(rr.Header().Name, name)
	}), nil
}

// addresses fills in the addresses of servers. It is an error when none has any; one without is left as it is.
func (r *Resolver) addresses(ctx context.Context, servers []Authority) error {
	errs := make([]error, len(servers))
	var group errgroup.Group
	group.SetLimit(8)
	for i := range servers {
		group.Go(func() error {
			servers[i].Addresses, errs[i] = r.hostAddresses(ctx, servers[i].Name)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	found := slices.ContainsFunc(servers, func(a Authority) bool { return len(a.Addresses) > 0 })
	if found {
		return nil
	}
	return errors.Join(append(errs, errors.New("none has an address"))...)
}

func (r *Resolver) hostAddresses(ctx context.Context, host string) ([]string, error) {
	var (
		found []string
		errs  []error
	)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		reply, err := r.lookup(ctx, host, qtype)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, rr := range reply.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				found = append(found, rr.A.String())
			case *dns.AAAA:
				found = append(found, rr.AAAA.String())
			}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, errors.Join(errs...)
}

// endpoint is one address that is asked.
type endpoint struct {
	label   string // as people see it
	address string // address:port
	recurse bool   // it is a resolver that the user named, not an authority
}

// endpoints returns the zone of name and whom to ask about it: each address of each authority, or the resolvers that the
// user named; then the zone is not known and empty.
func (r *Resolver) endpoints(ctx context.Context, name string) (zone string, found []endpoint, err error) {
	if len(r.Servers) > 0 {
		servers, err := r.recursive()
		if err != nil {
			return "", nil, err
		}
		for _, s := range servers {
			found = append(found, endpoint{label: s, address: s, recurse: true})
		}
		return "", found, nil
	}
	z, err := r.Zone(ctx, name)
	if err != nil {
		return "", nil, err
	}
	for _, server := range z.Servers {
		for _, address := range server.Addresses {
			found = append(found, endpoint{
				label:   fmt.Sprintf("%s (%s)", server.Name, address),
				address: net.JoinHostPort(address, "53"),
			})
		}
	}
	return z.Name, found[:min(len(found), maxServers)], nil
}
