package differential

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// difference is a known difference between our replies and those of peers, and the reason for it. It explains the parts
// of a reply, and those only when explains says so.
type difference struct {
	peers    string // "nsd", "knot" or both
	parts    []string
	why      string
	explains func(q *query, ours, theirs *reply) bool
}

// errorLimit is the one difference that need not occur: a slow machine does not reach it.
const errorLimit = "NSD sends a limited number of errors a second"

var (
	sections = []string{"answer", "authority", "additional"}
	message  = slices.Concat([]string{"rcode", "flags", "question", "opt"}, sections)
	all      = slices.Concat([]string{"reply"}, message)
)

// differences is closed: what is not in it fails the test, and so does what is in it and does not occur any more.
var differences = slices.Concat(choices, truncations, faults)

// choices are differences between replies to good questions.
var choices = []difference{
	{"nsd knot", sections, "ANY: each server picks the RRset that it likes (RFC 8482 §4.1)",
		func(q *query, ours, theirs *reply) bool {
			return q.qtype == dns.TypeANY && ours.rcode() == theirs.rcode() && oneSet(ours) && len(theirs.msg.Answer) > 0
		}},
	{"nsd", []string{"additional"}, "MX and SRV bring the addresses of the hosts (RFC 1035 §3.3.9, RFC 2782), as with Knot; NSD " +
		"leaves them out with minimal-responses",
		func(q *query, ours, theirs *reply) bool {
			return (q.qtype == dns.TypeMX || q.qtype == dns.TypeSRV) && theirs.folded["additional"] == ""
		}},
	{"knot", []string{"additional"}, "addresses that a datagram has no room for are left out, all of them; Knot keeps those that fit",
		func(q *query, ours, theirs *reply) bool {
			return q.qtype == dns.TypeMX && !q.tcp && ours.folded["additional"] == "" && !theirs.msg.Truncated
		}},
	{"knot", []string{"rcode", "answer", "authority", "additional"}, "RRSIG and NSEC can stand beside a CNAME in a signed zone " +
		"(RFC 4035 §2.5), so Knot does not follow it for them in an unsigned zone either; NSD does",
		func(q *query, ours, theirs *reply) bool {
			return (q.qtype == dns.TypeRRSIG || q.qtype == dns.TypeNSEC) && isAlias(ours) && len(theirs.msg.Answer) == 0
		}},
	{"nsd knot", []string{"rcode", "answer", "authority", "flags"}, "a chain of CNAME records is cut where the server likes; the " +
		"resolver goes on from the last of them",
		func(q *query, ours, theirs *reply) bool {
			return strings.HasPrefix(q.qname, "chain") && isAlias(ours) && isAlias(theirs) &&
				(includes(ours, theirs, "answer") || includes(theirs, ours, "answer"))
		}},
	{"nsd knot", []string{"opt"}, "an extended error (RFC 8914) says more, or says it where the peer does not",
		func(q *query, ours, theirs *reply) bool {
			const explained = " option 15"
			return strings.HasSuffix(ours.parts["opt"], explained) &&
				strings.TrimSuffix(ours.parts["opt"], explained) == theirs.parts["opt"]
		}},
	{"nsd knot", message, "QTYPE NXNAME is FORMERR by RFC 9824 §3.5, which is younger than the peer",
		func(q *query, ours, theirs *reply) bool {
			return q.qtype == dns.TypeNXNAME && ours.rcode() == "FORMERR"
		}},
	{"knot", message, "QTYPE 0 is a type without records (RFC 6895 §3.1); Knot does not implement it",
		func(q *query, ours, theirs *reply) bool { return q.isType(0) && theirs.rcode() == "NOTIMP" }},
	{"nsd knot", message, "CHAOS tells nobody who we are (RFC 4892 §2) unless the operator says so",
		func(q *query, ours, theirs *reply) bool {
			return q.isClass(dns.ClassCHAOS) && ours.rcode() == "REFUSED" && theirs.rcode() == "NOERROR"
		}},
	{"nsd knot", message, "QCLASS ANY could not be answered with authority (RFC 1034 §4.3.1) and is REFUSED; the peers give an answer " +
		"without records",
		func(q *query, ours, theirs *reply) bool {
			return q.isClass(dns.ClassANY) && ours.rcode() == "REFUSED" && len(theirs.msg.Answer) == 0
		}},
	{"nsd knot", message, "NOTIFY and UPDATE are not for this zone, and NOTIMP; the peers know them and refuse them",
		func(q *query, ours, theirs *reply) bool {
			opcode := int(q.header(1)>>11) & 0xF
			return (opcode == dns.OpcodeNotify || opcode == dns.OpcodeUpdate) && ours.rcode() == "NOTIMP" && theirs.rcode() != "NOERROR"
		}},
}

// truncations are differences between replies over the limit of a datagram.
var truncations = []difference{
	{"nsd knot", sections, "a truncated reply has no records (RFC 2181 §9); the peers leave those in that fit",
		func(q *query, ours, theirs *reply) bool {
			return !q.tcp && ours.msg.Truncated && theirs.msg.Truncated && len(ours.msg.Answer)+len(ours.msg.Ns) == 0
		}},
	{"nsd knot", slices.Concat([]string{"flags"}, sections), "a referral without room for all its glue is truncated (RFC 9471 §3); " +
		"the peers leave out addresses, or fit in more, since names are compressed against a question in another case",
		func(q *query, ours, theirs *reply) bool {
			return !q.tcp && ours.msg.Truncated && !theirs.msg.Truncated && len(theirs.msg.Answer) == 0 && len(theirs.msg.Ns) > 0
		}},
}

// faults are differences between replies to requests that are at fault.
var faults = []difference{
	{"nsd", []string{"opt"}, "RFC 6891 §6.1.4 copies DO, into BADVERS as well; NSD does not",
		func(q *query, ours, theirs *reply) bool {
			return ours.rcode() == "BADVERS" && strings.ReplaceAll(ours.parts["opt"], "8000", "0000") == theirs.parts["opt"]
		}},
	{"nsd", all, errorLimit,
		func(q *query, ours, theirs *reply) bool {
			return theirs.wire == nil && (ours.isError() || q.header(5) > 1 || q.doubtful && q.header(5) == 1)
		}},
	{"nsd", []string{"question", "opt"}, "an error of NSD is a header without the question, and sometimes without the OPT",
		func(q *query, ours, theirs *reply) bool { return theirs.isError() && theirs.parts["question"] == "" }},
	{"nsd", message, "additional records other than OPT mean nothing and are passed over; NSD answers FORMERR",
		func(q *query, ours, theirs *reply) bool {
			return q.header(5) > 0 && theirs.rcode() == "FORMERR" && !ours.isError()
		}},
	{"nsd", message, "octets behind the end are FORMERR, as with Knot; NSD passes over them",
		func(q *query, ours, theirs *reply) bool {
			return q.doubtful && ours.rcode() == "FORMERR" && !theirs.isError()
		}},
	{"knot", all, "what has not exactly one question that can be read is FORMERR (RFC 9619 §4); Knot drops it",
		func(q *query, ours, theirs *reply) bool {
			return q.doubtful && ours.rcode() == "FORMERR" && theirs.wire == nil
		}},
	{"knot", message, "records in the answer or authority of a query, and an RCODE in it, are FORMERR (RFC 1035 §4.1.1); Knot passes " +
		"over them",
		func(q *query, ours, theirs *reply) bool {
			return ours.rcode() == "FORMERR" && !theirs.isError() && (q.header(3) > 0 || q.header(4) > 0 || q.header(1)&0xF != 0)
		}},
	{"knot", message, "an OPT at another name than the root is FORMERR (RFC 6891 §6.1.2); Knot passes over it",
		func(q *query, ours, theirs *reply) bool {
			return ours.rcode() == "FORMERR" && !theirs.isError() && q.header(5) == 1
		}},
	{"knot", message, "an additional record is passed over, whatever its name points at; Knot answers FORMERR",
		func(q *query, ours, theirs *reply) bool {
			return q.header(5) == 1 && !q.parsed && theirs.rcode() == "FORMERR" && !ours.isError()
		}},
	{"knot", []string{"opt"}, "FORMERR has an OPT where the request had one that can be read (RFC 6891 §6.1.1); that of Knot has none",
		func(q *query, ours, theirs *reply) bool {
			return ours.rcode() == "FORMERR" && theirs.rcode() == "FORMERR" && theirs.parts["opt"] == ""
		}},
	{"knot", message, "an EDNS size under 512 is taken for 512 (RFC 6891 §6.2.3); Knot answers FORMERR",
		func(q *query, ours, theirs *reply) bool {
			opt := q.msg.IsEdns0()
			return q.parsed && opt != nil && opt.UDPSize() < 512 && theirs.rcode() == "FORMERR"
		}},
}

func (r *reply) rcode() string { return r.parts["rcode"] }

func (r *reply) isError() bool {
	return r.wire != nil && r.rcode() != "NOERROR" && (r.rcode() != "NXDOMAIN" || r.parts["question"] == "")
}

// oneSet says whether the answer is of one type.
func oneSet(r *reply) bool {
	return len(r.msg.Answer) > 0 && !slices.ContainsFunc(r.msg.Answer, func(rr dns.RR) bool {
		return rr.Header().Rrtype != r.msg.Answer[0].Header().Rrtype
	})
}

// isAlias says whether the answer begins with a CNAME at the name in the question.
func isAlias(r *reply) bool {
	return r.msg != nil && len(r.msg.Answer) > 0 && r.msg.Answer[0].Header().Rrtype == dns.TypeCNAME &&
		strings.EqualFold(r.msg.Answer[0].Header().Name, r.msg.Question[0].Name)
}

// includes says whether all records of the part are in the other one too.
func includes(r, in *reply, part string) bool {
	for line := range strings.Lines(r.folded[part]) {
		if !strings.Contains("\n"+in.folded[part], "\n"+line) {
			return false
		}
	}
	return true
}

// header returns a word of the request's header.
func (q *query) header(word int) uint16 {
	if len(q.wire) < 12 {
		return 0
	}
	return binary.BigEndian.Uint16(q.wire[2*word:])
}

func (q *query) isType(qtype uint16) bool {
	return q.parsed && len(q.msg.Question) == 1 && q.msg.Question[0].Qtype == qtype
}

func (q *query) isClass(class uint16) bool {
	return q.parsed && len(q.msg.Question) == 1 && q.msg.Question[0].Qclass == class
}
