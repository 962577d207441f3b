package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/world"
)

// exchange is ExchangeContext that takes nothing but a response. A socket that is
// connected to a port which nobody has can get that port for its own, by chance,
// and then it reads what it has sent: NOERROR without an answer.
func exchange(ctx context.Context, client *dns.Client, m *dns.Msg, server string) (*dns.Msg, error) {
	r, _, err := client.ExchangeContext(ctx, m, server)
	if err == nil && !r.Response {
		return nil, fmt.Errorf("%s answers with the query", server)
	}
	return r, err
}

// TestQueryIsNoReply has a socket read its own query.
func TestQueryIsNoReply(t *testing.T) {
	t.Parallel()
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.LocalAddr()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	client := &dns.Client{Dialer: &net.Dialer{LocalAddr: addr}, Timeout: 10 * time.Second}
	m := new(dns.Msg).SetQuestion(world.Zone+".", dns.TypeSOA)
	if r, err := exchange(testContext(t), client, m, addr.String()); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, %v", r, err)
	}
}
