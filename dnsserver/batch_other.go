//go:build !linux

package dnsserver

// newBatchSource returns nil: the system has no calls for many datagrams.
func newBatchSource(*packetSocket) (packetSource, error) { return nil, nil }
