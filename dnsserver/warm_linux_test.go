package dnsserver_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// warmNames notes what it was told to warm.
type warmNames struct {
	*names
	mu   sync.Mutex
	told []string
}

func (n *warmNames) Warm(labels [][]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, label := range labels {
		n.told = append(n.told, string(label))
	}
}

// TestNamesAreToldOfABatch: what waits in a socket is one batch, and Names are told
// of its labels, in the spelling of the client, before they are asked.
func TestNamesAreToldOfABatch(t *testing.T) {
	if os.Getenv("CNAMED_TEST_PLAIN_UDP") != "" {
		t.Skip("there are no batches")
	}
	t.Parallel()
	n := &warmNames{names: newNames()}
	endpoint, err := dnsserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", endpoint.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var want []string
	send := func(packet []byte) {
		t.Helper()
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 {
		label := fmt.Sprintf("Name%d", i)
		want = append(want, label)
		packet, err := new(dns.Msg).SetQuestion(label+".auth.example.org.", dns.TypeTXT).Pack()
		if err != nil {
			t.Fatal(err)
		}
		send(packet)
	}
	// What has no label to read, or one that goes on behind the end.
	send(make([]byte, 12))
	send(append(make([]byte, 12), 0xc0, 12))
	send(append(make([]byte, 12), 63, 'a'))

	zone := testZone(t, n)
	serve(t, &dnsserver.Server{Zones: dnsserver.NewZoneSet(zone)}, endpoint)
	reply := make([]byte, 2048)
	for range 8 {
		if _, err := conn.Read(reply); err != nil {
			t.Fatal(err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.told, want) {
		t.Errorf("told of %q, not %q", n.told, want)
	}
}
