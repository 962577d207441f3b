package registry

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// maxAllowFrom bounds the entries of one list, which stay in memory.
const maxAllowFrom = 64

// cleanAllowFrom checks the entries of an allow list as a client sent them and
// returns them as they are kept: without brackets, otherwise untouched. The
// result is never nil.
func cleanAllowFrom(entries []string) ([]string, error) {
	if len(entries) > maxAllowFrom {
		return nil, fmt.Errorf("%w: more than %d entries", ErrAllowFrom, maxAllowFrom)
	}
	clean := make([]string, 0, len(entries))
	for _, entry := range entries {
		entry = unbracket.Replace(entry)
		if _, err := parsePrefix(entry); err != nil {
			return nil, err
		}
		clean = append(clean, entry)
	}
	return clean, nil
}

// unbracket turns "[::1]/64" into "::1/64".
var unbracket = strings.NewReplacer("[", "", "]", "")

// parsePrefix reads a CIDR prefix. Host bits are allowed and mean nothing. A
// prefix of IPv4-mapped addresses becomes one of IPv4 addresses.
func parsePrefix(s string) (netip.Prefix, error) {
	_, network, err := net.ParseCIDR(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%w: %q", ErrAllowFrom, s)
	}
	addr, _ := netip.AddrFromSlice(network.IP)
	bits, _ := network.Mask.Size()
	if addr.Is4In6() && bits >= 96 {
		addr, bits = addr.Unmap(), bits-96
	}
	return netip.PrefixFrom(addr, bits), nil
}

// allowList is the allow list of an account, ready to match.
type allowList struct {
	locked   bool
	prefixes []netip.Prefix // empty: any address
}

// newAllowList makes the allow list of a stored account. An entry that cannot
// be understood locks the account: its owner wanted a restriction.
func newAllowList(a *Account) allowList {
	list := allowList{locked: a.Locked}
	for _, entry := range a.AllowFrom {
		p, err := parsePrefix(entry)
		if err != nil {
			return allowList{locked: true}
		}
		list.prefixes = append(list.prefixes, p)
	}
	return list
}

// allows reports whether addr may update.
func (l allowList) allows(addr netip.Addr) bool {
	if l.locked {
		return false
	}
	if len(l.prefixes) == 0 {
		return true
	}
	// Prefixes never match an address with a zone.
	addr = addr.Unmap().WithZone("")
	for _, p := range l.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// allowTable shares allow lists between accounts: most have none, and many of
// the others have the same. An account refers to its list by number, and the
// number is good while the account's record has it: a list that nobody refers
// to any more makes room for another, or who changes his often could fill the
// memory. The lock is taken last, within that of a shard.
type allowTable struct {
	mu     sync.RWMutex
	lists  []sharedList
	number map[string]uint32
	free   []uint32
}

// sharedList is an allow list with its entries as they were sent, and the
// number of accounts that have it.
type sharedList struct {
	allowList
	key   string // the entries with commas between: none has one in it
	users int
}

const (
	allowAny  uint32 = iota // no restriction
	allowNone               // locked
)

func newAllowTable() allowTable {
	return allowTable{
		lists:  []sharedList{allowAny: {}, allowNone: {allowList: allowList{locked: true}}},
		number: make(map[string]uint32),
	}
}

// intern returns the number of a's list, and counts a as a user of it.
func (t *allowTable) intern(a *Account) uint32 {
	if !a.Locked && len(a.AllowFrom) == 0 {
		return allowAny
	}
	list := newAllowList(a)
	if list.locked {
		return allowNone
	}
	key := strings.Join(a.AllowFrom, ",")
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.number[key]
	if !ok {
		if last := len(t.free) - 1; last >= 0 {
			n, t.free = t.free[last], t.free[:last]
		} else {
			n = uint32(len(t.lists))
			t.lists = append(t.lists, sharedList{})
		}
		t.lists[n] = sharedList{allowList: list, key: key}
		t.number[key] = n
	}
	t.lists[n].users++
	return n
}

// release says that one account does not have list n any more.
func (t *allowTable) release(n uint32) {
	if n == allowAny || n == allowNone {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := &t.lists[n]
	if list.users--; list.users == 0 {
		delete(t.number, list.key)
		*list = sharedList{}
		t.free = append(t.free, n)
	}
}

// get returns list n. The caller holds the shard of a record that has n.
func (t *allowTable) get(n uint32) allowList {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.lists[n].allowList
}

// entries returns list n as it was sent, never nil. The same holds as for get.
func (t *allowTable) entries(n uint32) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.lists[n].key == "" {
		return []string{}
	}
	return strings.Split(t.lists[n].key, ",")
}
