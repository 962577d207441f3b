package dnsserver_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// ask makes the request of an ask line.
func ask(words []string) ([]byte, dnsserver.Transport, error) {
	transport := dnsserver.UDP
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: 0xbeef}}
	qtype, ok := dns.StringToType[words[1]]
	if number, found := strings.CutPrefix(words[1], "TYPE"); !ok && found {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, 0, err
		}
		qtype = uint16(n)
	}
	m.Question = []dns.Question{{Name: words[0], Qtype: qtype, Qclass: dns.ClassINET}}
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	for _, flag := range words[2:] {
		key, value, _ := strings.Cut(flag, "=")
		number, _ := strconv.Atoi(value)
		switch key {
		case "rd":
			m.RecursionDesired = true
		case "cd":
			m.CheckingDisabled = true
		case "ad":
			m.AuthenticatedData = true
		case "tcp":
			transport = dnsserver.TCP
		case "class":
			m.Question[0].Qclass = dns.StringToClass[value]
		case "do", "edns", "version", "option":
			m.Extra = []dns.RR{opt}
			switch key {
			case "do":
				opt.SetDo()
			case "edns":
				opt.SetUDPSize(uint16(number))
			case "version":
				opt.SetVersion(uint8(number))
			case "option":
				code, data, _ := strings.Cut(value, ":")
				number, _ := strconv.Atoi(code)
				octets, err := hex.DecodeString(data)
				if err != nil {
					return nil, 0, err
				}
				opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: uint16(number), Data: octets})
			}
		default:
			return nil, 0, fmt.Errorf("unknown flag %q", flag)
		}
	}
	wire, err := m.Pack()
	return wire, transport, err
}

// checkReply checks what is true of every reply, whatever was asked.
func checkReply(t *testing.T, server *dnsserver.Server, request, reply []byte, transport dnsserver.Transport) {
	t.Helper()
	var m dns.Msg
	if err := m.Unpack(reply); err != nil {
		t.Fatalf("the reply %x does not parse: %v", reply, err)
	}
	if !bytes.Equal(reply[:2], request[:2]) || !m.Response {
		t.Errorf("the reply %x has another ID, or is none", reply)
	}
	// RA, Z, AD and CD are clear, RD is the request's.
	if reply[3]&0xF0 != 0 || reply[2]&1 != request[2]&1 || reply[2]&0x78 != request[2]&0x78 {
		t.Errorf("the reply's flags are %x, the request's %x", reply[2:4], request[2:4])
	}
	if len(m.Question) > 1 || len(m.Question) == 1 && !bytes.HasPrefix(reply[12:], questionOf(t, request)) {
		t.Errorf("the question %x is not echoed in %x", request[12:], reply[12:])
	}
	inside := len(m.Question) == 1 && dns.IsSubDomain(server.Zones.Zones()[0].Origin(), m.Question[0].Name)
	if m.Authoritative && !inside {
		t.Error("AA for a name outside of the zone")
	}
	limit := 65535
	var asked dns.Msg
	var offered *dns.OPT
	if asked.Unpack(request) == nil {
		offered = asked.IsEdns0()
	}
	if transport == dnsserver.UDP {
		limit = 512
		if offered != nil {
			limit = max(512, min(1232, int(offered.UDPSize())))
		}
	}
	if len(reply) > limit {
		t.Errorf("the reply has %d octets, over the limit of %d", len(reply), limit)
	}
	if m.Truncated && len(m.Answer)+len(m.Ns) > 0 {
		t.Error("a truncated reply with records")
	}
	if m.IsEdns0() != nil && offered == nil && asked.Unpack(request) == nil {
		t.Error("OPT for a request without OPT")
	}
	if len(m.Question) == 1 && len(m.Answer) == 0 && len(m.Ns) == 0 && m.Rcode == dns.RcodeSuccess && !m.Truncated {
		t.Error("a negative answer without SOA")
	}
	if opt := m.IsEdns0(); opt != nil && (opt.UDPSize() != 1232 || opt.Version() != 0) {
		t.Errorf("OPT %v", opt)
	}
}

// questionOf returns the bytes of the one question in a message.
func questionOf(t *testing.T, message []byte) []byte {
	t.Helper()
	end := 12
	for message[end] != 0 {
		end += 1 + int(message[end])
	}
	return message[12 : end+5]
}
