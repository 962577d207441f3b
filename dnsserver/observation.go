package dnsserver

import (
	"time"

	"github.com/miekg/dns"
)

// Transport is what a request came over.
type Transport uint8

// The transports.
const (
	UDP Transport = iota
	TCP
)

func (t Transport) String() string {
	if t == TCP {
		return "tcp"
	}
	return "udp"
}

// Observation is one request that was dealt with, for metrics. Its texts come from small closed sets, whatever clients
// send.
type Observation struct {
	Transport Transport
	// Type is the question's type if it is a common one, else "other", and "none" if there was no question to read.
	Type string
	// Rcode is the mnemonic of the reply's code, as in NXDOMAIN, and "dropped" if there was no reply.
	Rcode string
	// Truncated: the answer did not fit, and the client was told to come back over TCP.
	Truncated bool
	// Limited: the client has had enough replies over UDP (see RateLimit), and was told to come back over TCP.
	Limited bool
	// Size is the reply's in octets.
	Size int
	// Duration is the time from the request's last octet to the reply's first, without the network.
	Duration time.Duration
}

func (q *query) observation(t Transport, size int, duration time.Duration) Observation {
	o := Observation{Transport: t, Truncated: q.truncated && !q.limited, Limited: q.limited,
		Size: size, Duration: duration, Type: "none", Rcode: "dropped"}
	if q.question != nil {
		o.Type = typeLabel(q.qtype)
	}
	if size > 0 {
		o.Rcode = rcodeLabel(q.rcode)
	}
	return o
}

func typeLabel(qtype uint16) string {
	switch qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeANY, dns.TypeAXFR, dns.TypeCAA, dns.TypeCNAME, dns.TypeDNSKEY, dns.TypeDS,
		dns.TypeHTTPS, dns.TypeIXFR, dns.TypeMX, dns.TypeNS, dns.TypeSOA, dns.TypeTXT:
		return dns.TypeToString[qtype]
	}
	return "other"
}

func rcodeLabel(rcode int) string {
	if rcode == dns.RcodeBadVers {
		return "BADVERS" // miekg/dns knows the number 16 as BADSIG only
	}
	return dns.RcodeToString[rcode]
}
