package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
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
		return nil, fmt.Errorf("%s: %w", server, errNoReply)
	}
	return r, err
}

var errNoReply = errors.New("it is the query that comes back")

// TestQueryIsNoReply has a socket read its own query.
func TestQueryIsNoReply(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	for {
		free, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := free.LocalAddr()
		if err := free.Close(); err != nil {
			t.Fatal(err)
		}
		client := &dns.Client{Dialer: &net.Dialer{LocalAddr: addr}, Timeout: 10 * time.Second}
		r, err := exchange(ctx, client, new(dns.Msg).SetQuestion(world.Zone+".", dns.TypeSOA), addr.String())
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // another test was given the port
		}
		if !errors.Is(err, errNoReply) {
			t.Errorf("%v, %v", r, err)
		}
		return
	}
}
