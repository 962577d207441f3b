package dnsserver

// ClientPrefix is what counts as one client.
var ClientPrefix = clientPrefix

// CloseListeners closes the TCP half of an endpoint.
func CloseListeners(e *Endpoint) {
	for _, l := range e.listeners {
		l.Close()
	}
}
