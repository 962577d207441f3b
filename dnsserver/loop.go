package dnsserver

import "github.com/miekg/dns"

// couldLoop says whether an error reply to q could go round and round. Whoever forges the source of one packet can make us
// talk to any server. Another DNS server, echo (RFC 862), and we ourselves send responses, which are dropped unread. But
// chargen, quote of the day, daytime (RFC 864, 865, 867) and their like answer anything with octets that can pass for a
// request of some opcode, though not for a query. So what is none, over UDP from a port of a system service, gets no reply:
// clients have such a port only behind an address translator that keeps the 53 of a resolver, which is let in.
func (q *query) couldLoop(from Client) bool {
	port := from.Addr.Port()
	if from.Transport != UDP || port >= 1024 || port == 53 || !from.Addr.IsValid() {
		return false
	}
	return q.opcode() != dns.OpcodeQuery || q.malformed || q.question == nil
}
