package dnsserver

import (
	"net/netip"
	"slices"
)

// A Peer says who a client is: its address, the key that it signs with, or both. The zero Peer is nobody.
type Peer struct {
	Prefix netip.Prefix // the zero Prefix: any address
	Key    string       // the name of a key; "": none is needed
}

// peer is a Peer made ready.
type peer struct {
	prefix netip.Prefix
	key    *name
}

func newPeer(p Peer) (peer, error) {
	made := peer{prefix: p.Prefix}
	if p.Key == "" {
		return made, nil
	}
	var err error
	made.key, err = parseName(p.Key)
	return made, err
}

// matches says whether a client is the peer. k is the key that its request was signed with, nil for none.
func (p *peer) matches(client netip.Addr, k *key) bool {
	switch {
	case p.prefix == netip.Prefix{} && p.key == nil:
		return false
	case p.prefix != netip.Prefix{} && !p.prefix.Contains(client.Unmap().WithZone("")):
		return false
	}
	return p.key == nil || k != nil && k.name.equal(p.key)
}

// allows says whether z may be transferred to a client.
func (z *Zone) allows(client netip.Addr, k *key) bool {
	return slices.ContainsFunc(z.transferTo, func(p peer) bool { return p.matches(client, k) })
}
