//go:build linux && (amd64 || arm64)

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/miekg/dns"
)

// corpus is questions in wire form, one after the other in the order in which
// they are sent, with what each has to be answered by.
type corpus struct {
	data []byte
	ends []uint32
	want []reply
}

// reply is what tells an answer that is right from one that is not.
type reply struct {
	rcode   byte
	answers byte
}

var (
	twoValues = reply{dns.RcodeSuccess, 2}
	noData    = reply{dns.RcodeSuccess, 0}
	noName    = reply{dns.RcodeNameError, 0}
)

func (c *corpus) len() int { return len(c.ends) }

func (c *corpus) query(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = c.ends[i-1]
	}
	return c.data[start:c.ends[i]]
}

func (c *corpus) add(name string, qtype uint16, want reply) error {
	m := new(dns.Msg).SetQuestion(name, qtype).SetEdns0(1232, false)
	wire, err := m.Pack()
	if err != nil {
		return err
	}
	c.data = append(c.data, wire...)
	c.ends = append(c.ends, uint32(len(c.data)))
	c.want = append(c.want, want)
	return nil
}

// plainCorpus asks for the TXT records of every name, in random order.
func plainCorpus(names []string) (*corpus, error) {
	c := &corpus{}
	random := rand.New(rand.NewPCG(1, 1))
	for _, i := range random.Perm(len(names)) {
		if err := c.add(names[i]+"."+origin+".", dns.TypeTXT, twoValues); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// mixTypes are what else than TXT is asked for at a name that exists.
var mixTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCAA, dns.TypeMX, dns.TypeNS, dns.TypeHTTPS}

// mixCorpus is what a server sees that resolvers and scanners ask as well: half
// of the questions are for names that nobody registered, a quarter for other
// types at names that exist, and a quarter is plain. All of them have letters in
// random case, as resolvers send that protect themselves by it (0x20).
func mixCorpus(names []string) (*corpus, error) {
	c := &corpus{}
	random := rand.New(rand.NewPCG(2, 2))
	for n, i := range random.Perm(len(names)) {
		name, qtype, want := names[i], dns.TypeTXT, twoValues
		switch n % 4 {
		case 0, 1:
			name, want = randomUUID(random).String(), noName
		case 2:
			qtype, want = mixTypes[random.IntN(len(mixTypes))], noData
		}
		if err := c.add(randomCase(random, name+"."+origin+"."), qtype, want); err != nil {
			return nil, err
		}
	}
	// The order of kinds must not be one that a branch predictor learns.
	return c.shuffled(random), nil
}

func (c *corpus) shuffled(random *rand.Rand) *corpus {
	s := &corpus{data: make([]byte, 0, len(c.data))}
	for _, i := range random.Perm(c.len()) {
		s.data = append(s.data, c.query(i)...)
		s.ends = append(s.ends, uint32(len(s.data)))
		s.want = append(s.want, c.want[i])
	}
	return s
}

func randomCase(random *rand.Rand, name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && random.IntN(2) == 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func randomUUID(random *rand.Rand) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], random.Uint64())
	binary.BigEndian.PutUint64(id[8:], random.Uint64())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // RFC 9562 §5.4
	return id
}

// check asks a sample of the questions and compares the answers: a server that
// is fast because it answers something else must not win.
func (c *corpus) check(server netip.AddrPort) error {
	conn, err := net.Dial("udp", server.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	buffer := make([]byte, 4096)
	for i := range min(200, c.len()) {
		if _, err := conn.Write(c.query(i)); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		n, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		var question, answer dns.Msg
		if err := question.Unpack(c.query(i)); err != nil {
			return err
		}
		if err := answer.Unpack(buffer[:n]); err != nil {
			return fmt.Errorf("answering %v: %w", question.Question[0], err)
		}
		got := reply{byte(answer.Rcode), byte(len(answer.Answer))}
		if got != c.want[i] || answer.Truncated || !answer.Authoritative || answer.Question[0] != question.Question[0] {
			return fmt.Errorf("the answer is wrong:\n%v", &answer)
		}
	}
	return nil
}
