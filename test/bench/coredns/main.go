// Command coredns is CoreDNS with what its file plugin needs and nothing else,
// as a peer for the benchmarks of cnamed. It is in a module of its own, so that
// its dependencies do not become those of cnamed.
package main

import (
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/multisocket"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

func main() {
	dnsserver.Directives = []string{"bind", "multisocket", "file"}
	coremain.Run()
}
