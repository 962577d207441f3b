package dnsserver_test

import (
	"runtime"
	"testing"

	"cnamed/dnsserver"
)

// TestOneSocketForEachCore of one address, and one reader for each. It changes what all tests share, and so runs alone.
func TestOneSocketForEachCore(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	e, err := dnsserver.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	addrs, readers := dnsserver.PacketSockets(e)
	if len(addrs) != 3 || readers != 3 {
		t.Errorf("%d sockets with %d readers, want 3", len(addrs), readers)
	}
	for _, addr := range addrs {
		if addr != e.Addr().String() {
			t.Errorf("a socket is bound to %s, want %s", addr, e.Addr())
		}
	}
}
