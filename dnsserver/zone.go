package dnsserver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Names is the changing part of a zone: the registered names, each exactly one label below the origin.
// It is safe for concurrent use and never blocks on I/O, since it is asked in the middle of a query.
type Names interface {
	// AppendTXT appends the TXT values of a name to dst, in the order in which they are to be served: for each two octets
	// of length, the more significant first, and the value. label is in lower case and can hold any octets; it must not
	// be kept. exists says that the name is registered, with or without values; an error, that this cannot be told now,
	// and the client gets SERVFAIL rather than a guess.
	AppendTXT(dst, label []byte) (values []byte, exists bool, err error)
	// Serial is the SOA serial. It rises by RFC 1982 whenever a name or a value changes.
	Serial() uint32
}

// ChallengeLabel is the label of the server's own challenge name below the origin. Names answers for it like for a
// registered name.
const ChallengeLabel = "_acme-challenge"

const (
	// staticTTL is the TTL of records that give none.
	staticTTL = 3600
	// defaultTTL: a value is replaced by the next order, and validators in several places must not see the last one.
	defaultTTL = time.Second
	// defaultNegativeTTL: who asks before the value is set gets a negative answer, and must not keep it while the
	// validation goes on. Zero would do as well, but some resolvers replace it by a default of their own.
	defaultNegativeTTL = time.Second

	// What the SOA tells secondaries, by the advice of RIPE-203 and RFC 1912 §2.2. NOTIFY makes refresh a last resort.
	soaRefresh = 4 * 3600
	soaRetry   = 3600
	soaExpire  = 14 * 24 * 3600
)

// ZoneConfig describes a zone. Names in it may end in a dot or not.
type ZoneConfig struct {
	// Origin is the name of the zone.
	Origin string
	// NameServers are the full names of the NS records at the origin. Empty: those in Records, else the origin itself.
	// The first is the SOA's primary server too.
	NameServers []string
	// Admin is the mailbox of the SOA, as hostmaster@example.org or hostmaster.example.org.
	// Empty: hostmaster at the origin.
	Admin string
	// Addrs become A and AAAA records at the origin, if it is a name server, and at the other name servers inside the zone
	// for which Records has none. At the origin of a zone that has Names they do where Records has none of their family.
	Addrs []netip.Addr
	// Records are further records, one each in zone file form (RFC 1035 §5.1). Relative names are relative to Origin, a
	// missing TTL is 3600, and the data is served as written.
	Records []string
	// TTL is that of the values of Names, in whole seconds. Zero: one second.
	TTL time.Duration
	// NegativeTTL is how long resolvers may keep a negative answer (the SOA's MINIMUM), in whole seconds.
	// Zero: one second.
	NegativeTTL time.Duration
	// TransferTo are the clients that may transfer the zone. Empty: nobody may.
	TransferTo []Peer
	// Notify are the servers that are told of changes.
	Notify []Secondary
}

// A ConfigError is one fault in a ZoneConfig.
type ConfigError struct {
	Field  string // "origin", "name-servers", "admin", "addrs", "records", "ttl", "negative-ttl", "transfer-to" or "notify"
	Index  int    // in a list, from 0; -1 when the field is none
	Value  string // as configured
	Fault  string // what is wrong
	Remedy string // what mends it
}

func (e *ConfigError) Error() string {
	place := e.Field
	if e.Index >= 0 {
		place = fmt.Sprintf("%s[%d]", e.Field, e.Index)
	}
	return fmt.Sprintf("%s %q: %s; %s", place, e.Value, e.Fault, e.Remedy)
}

// Hint returns what mends the fault.
func (e *ConfigError) Hint() string { return e.Remedy }

// Zone answers queries for one zone: a static tree, and Names one label below the origin.
// It does not change, and is safe for concurrent use.
type Zone struct {
	origin      name
	apex        *node
	names       Names
	ttl         uint32
	soa         dns.SOA // as served at the apex, but for the serial
	negativeTTL uint32
	fixed       uint32 // the serial, if there are no names
	transferTo  []peer
	notify      []secondary
	wire        wireZone
}

// NewZone makes a zone. With nil names it has its static records only, and the serial 1 (see WithSerial).
// The error joins a *ConfigError for every fault in cfg.
func NewZone(cfg ZoneConfig, names Names) (*Zone, error) {
	b := &builder{cfg: cfg, zone: &Zone{names: names, apex: new(node), fixed: 1}}
	b.setTTLs()
	admin := b.admin()
	b.checkAddrs()
	if b.setOrigin() {
		b.addRecords()
		b.addNameServers()
		b.addAddrs()
		b.check()
	}
	b.addPeers()
	if err := b.err(); err != nil {
		return nil, err
	}
	if admin == "" {
		admin = "hostmaster." + b.origin
	}
	z := b.zone
	z.soa = dns.SOA{
		Hdr:     dns.RR_Header{Name: b.origin, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: staticTTL},
		Ns:      b.primary,
		Mbox:    admin,
		Serial:  1,
		Refresh: soaRefresh,
		Retry:   soaRetry,
		Expire:  soaExpire,
		Minttl:  z.negativeTTL,
	}
	if err := packable(&z.soa); err != nil {
		return nil, &ConfigError{Field: "admin", Index: -1, Value: cfg.Admin, Fault: err.Error(), Remedy: "write a shorter one"}
	}
	z.prepareWire()
	return z, nil
}

// Origin returns the name of the zone, with a dot at the end.
func (z *Zone) Origin() string { return z.soa.Hdr.Name }

// Primary returns the first name server, with a dot at the end.
func (z *Zone) Primary() string { return z.soa.Ns }

// Reserved says whether the zone has its own use for the name one label below the origin: records at it or below it, an
// address of a name server, the server's own challenge. label is in lower case. Who answered for such a name would do so
// beside, or instead of, what the operator wrote.
func (z *Zone) Reserved(label string) bool {
	return label == ChallengeLabel || z.apex.children[label] != nil
}

func (z *Zone) serial() uint32 {
	if z.names == nil {
		return z.fixed
	}
	return z.names.Serial()
}

// WithSerial returns the zone with another serial, which counts if it has no Names.
func (z *Zone) WithSerial(serial uint32) *Zone {
	other := *z
	other.fixed = serial
	return &other
}

// Static says whether the zone has its static records only.
func (z *Zone) Static() bool { return z.names == nil }

// Delegates says whether a name in the zone is at or below a delegation.
func (z *Zone) Delegates(host string) bool {
	name, err := parseName(host)
	if err != nil || !name.within(&z.origin) {
		return false
	}
	n := z.apex
	for i := name.labels - z.origin.labels - 1; i >= 0 && n != nil && !n.cut; i-- {
		n = n.children[string(name.label(i))]
	}
	return n != nil && n.cut
}

// Fingerprint differs between zones whose records do, but for those of Names and the serial.
func (z *Zone) Fingerprint() string {
	lines := []string{z.soa.String(), strconv.Itoa(int(z.ttl))}
	_ = z.apex.each(func(_ *node, set *rrset) error {
		for _, rr := range set.rrs {
			lines = append(lines, rr.String())
		}
		return nil
	})
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}
