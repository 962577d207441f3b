package acmeclient

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestNewestNonceLeavesFirst(t *testing.T) {
	t.Parallel()
	var n nonces
	for i := range 3 * maxNonces {
		n.put(fmt.Sprint(i))
	}
	for i := range maxNonces {
		if got, want := n.take(), fmt.Sprint(3*maxNonces-1-i); got != want {
			t.Fatalf("nonce %d is %s, want %s", i, got, want)
		}
	}
	if got := n.take(); got != "" {
		t.Errorf("%q is left over", got)
	}
}

func TestInvalidNoncesAreIgnored(t *testing.T) {
	t.Parallel()
	for nonce, ok := range map[string]bool{"": false, "AZaz09-_": true, "a+b": false, "a=": false, "a b": false, strings.Repeat("a", 600): false} {
		r := &response{header: http.Header{"Replay-Nonce": {nonce}}}
		if got := r.nonce(); (got == nonce && got != "") != ok {
			t.Errorf("nonce %q is taken as %q", nonce, got)
		}
	}
}

// A reply of any kind refills the stock, so that one newNonce is enough for a whole conversation.
func TestNoncesComeFromEveryReply(t *testing.T) {
	t.Parallel()
	ca := &scriptedCA{}
	c := ca.client(t)
	for range 5 {
		if _, err := c.Order(testContext(t), "https://ca.test/no-such-order"); err == nil {
			t.Fatal("no error")
		}
	}
	if n := ca.count("HEAD /nonce"); n != 1 {
		t.Errorf("%d nonces were asked for, want 1", n)
	}
}
