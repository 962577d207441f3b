package dnsserver

import (
	"errors"
	"net"
	"testing"
)

// TestLargestRepliesFitABatch: as many as there can be, in rooms that are their own.
func TestLargestRepliesFitABatch(t *testing.T) {
	t.Parallel()
	source := newTestSource(t)
	defer source.Close()
	p := source.packets()
	var replies [][]byte
	for i := range batchSize {
		reply := p.room(i)
		if len(reply) != replyRoom || cap(reply) != replyRoom {
			t.Fatalf("room %d has %d octets, and %d behind them", i, len(reply), cap(reply))
		}
		for at := range reply {
			reply[at] = byte(i)
		}
		p.reply(i, reply)
		replies = append(replies, reply)
	}
	for i, reply := range replies {
		for at, c := range reply {
			if c != byte(i) {
				t.Fatalf("octet %d of reply %d is of reply %d", at, i, c)
			}
		}
	}
}

// TestSourceIsClosedOnce: the second time, the descriptors can be those of somebody else's files.
func TestSourceIsClosedOnce(t *testing.T) {
	t.Parallel()
	source := newTestSource(t)
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	if err := source.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
}

func newTestSource(t *testing.T) packetSource {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	source, err := newBatchSource(&packetSocket{conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	return source
}
