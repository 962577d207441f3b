package acmeclient

import "fmt"

// An Event is a step of Obtain, for those who watch.
type Event struct {
	Kind EventKind
	Name string // of the domain; empty for events that concern the whole order
	URL  string // of the ACME object
}

// An EventKind is one of the constants below. There are no others.
type EventKind int

const (
	OrderOpened           EventKind = iota + 1 // URL is the order
	AuthorizationReused                        // Name, with "*.": the CA asks for no new proof
	ChallengePresenting                        // Name, without "*.": the solver begins
	ChallengePresented                         // Name, without "*.": the solver has the values in place
	ChallengeAccepted                          // Name, with "*.": the CA was told to look
	AuthorizationValid                         // Name, with "*.": the CA has seen the value
	AuthorizationFailed                        // Name, with "*." if known; Obtain's error says why
	OrderFinalizing                            // the certificate request is sent
	CertificateDownloaded                      // URL is the certificate; it is about to be verified
)

var eventKinds = [...]string{
	OrderOpened:           "order-opened",
	AuthorizationReused:   "authorization-reused",
	ChallengePresenting:   "challenge-presenting",
	ChallengePresented:    "challenge-presented",
	ChallengeAccepted:     "challenge-accepted",
	AuthorizationValid:    "authorization-valid",
	AuthorizationFailed:   "authorization-failed",
	OrderFinalizing:       "order-finalizing",
	CertificateDownloaded: "certificate-downloaded",
}

// String returns a stable name such as "order-opened".
func (k EventKind) String() string {
	if k < OrderOpened || int(k) >= len(eventKinds) {
		return fmt.Sprintf("EventKind(%d)", int(k))
	}
	return eventKinds[k]
}
