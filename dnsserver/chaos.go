package dnsserver

import (
	"strings"

	"github.com/miekg/dns"
)

// answerChaos answers what a server says about itself, RFC 4892 §2. Nothing is the default: it tells attackers more than
// operators.
func (s *Server) answerChaos(q *query) {
	var text string
	if q.qclass == dns.ClassCHAOS && (q.qtype == dns.TypeTXT || q.qtype == dns.TypeANY) {
		switch strings.ToLower(q.qname) {
		case "version.server.", "version.bind.":
			text = s.Version
		case "id.server.", "hostname.bind.":
			text = s.Identity
		}
	}
	if text == "" {
		q.refuse(dns.RcodeRefused, dns.ExtendedErrorCodeNotSupported, "only the class IN is served")
		return
	}
	q.answer = append(q.answer, &dns.TXT{
		Hdr: dns.RR_Header{Name: q.qname, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS}, // TTL 0: true of this server alone
		Txt: appendStrings(nil, text),
	})
}
