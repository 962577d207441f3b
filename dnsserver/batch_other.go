//go:build !linux

package dnsserver

func newPackets(socket *packetSocket) (packets, error) { return newSingle(socket), nil }
