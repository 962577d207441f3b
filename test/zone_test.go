package test

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"cnamed/test/world"
)

// TestSerialMovesWithTheConfiguration: another record moves the serial of the
// zone, a restart alone does not.
func TestSerialMovesWithTheConfiguration(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	serial := func(more ...string) uint32 {
		s := serve(t, data, more...)
		client := &dns.Client{Timeout: 10 * time.Second}
		r, err := exchange(testContext(t), client, new(dns.Msg).SetQuestion(world.Zone+".", dns.TypeSOA), s.DNS[0])
		if err != nil || len(r.Answer) != 1 {
			t.Fatalf("%v %v", r, err)
		}
		stop(t, s)
		return r.Answer[0].(*dns.SOA).Serial
	}
	first := serial()
	if again := serial(); again != first {
		t.Errorf("a restart moved the serial from %d to %d", first, again)
	}
	if other := serial("--dns-records", "www A 192.0.2.1"); other != first+1 {
		t.Errorf("another record moved the serial from %d to %d", first, other)
	}
}
