package dnsserver_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// warmNames notes what it was told to warm, and what it was asked before.
type warmNames struct {
	*names
	mu     sync.Mutex
	told   []string
	early  []string
	broken bool
}

func (n *warmNames) Warm(labels [][]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.broken {
		panic("broken on purpose")
	}
	for _, label := range labels {
		n.told = append(n.told, string(label))
	}
}

func (n *warmNames) AppendTXT(dst, label []byte) ([]byte, bool, error) {
	n.mu.Lock()
	if !slices.ContainsFunc(n.told, func(told string) bool { return strings.EqualFold(told, string(label)) }) {
		n.early = append(n.early, string(label))
	}
	n.mu.Unlock()
	return n.names.AppendTXT(dst, label)
}

// TestNamesAreToldOfABatch: what waits in a socket is one batch, and Names are told
// of its labels, in the spelling of the client, before they are asked.
func TestNamesAreToldOfABatch(t *testing.T) {
	if os.Getenv("CNAMED_TEST_PLAIN_UDP") != "" {
		t.Skip("there are no batches")
	}
	t.Parallel()
	n := &warmNames{names: newNames()}
	want := askAtOnce(t, n)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.told, want) {
		t.Errorf("told of %q, not %q", n.told, want)
	}
	if len(n.early) > 0 {
		t.Errorf("asked for %q before", n.early)
	}
}

// TestPanicOfAWarmerIsRecovered: the queries are answered all the same.
func TestPanicOfAWarmerIsRecovered(t *testing.T) {
	if os.Getenv("CNAMED_TEST_PLAIN_UDP") != "" {
		t.Skip("there are no batches")
	}
	t.Parallel()
	askAtOnce(t, &warmNames{names: newNames(), broken: true})
}

// askAtOnce has queries wait in a socket before it is served, and waits until they
// are answered, each by its own reply. It returns their labels.
func askAtOnce(t *testing.T, n dnsserver.Names) (labels []string) {
	t.Helper()
	endpoint, err := dnsserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", endpoint.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	send := func(packet []byte) {
		t.Helper()
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 {
		label := fmt.Sprintf("Name%d", i)
		labels = append(labels, label)
		packet, err := new(dns.Msg).SetQuestion(label+".auth.example.org.", dns.TypeTXT).Pack()
		if err != nil {
			t.Fatal(err)
		}
		send(packet)
	}
	// What has no label to read, or one that goes on behind the end.
	send(make([]byte, 12))
	send(append(make([]byte, 12), append([]byte{0xc0}, make([]byte, 250)...)...))
	send(append(make([]byte, 12), 63, 'a'))

	serve(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(testZone(t, n))}, endpoint)
	reply := make([]byte, 2048)
	for _, label := range labels {
		size, err := conn.Read(reply)
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(reply[:size]); err != nil || len(m.Question) != 1 || m.Question[0].Name != label+".auth.example.org." {
			t.Errorf("the reply about %s: %v, %v", label, err, &m)
		}
	}
	return labels
}
