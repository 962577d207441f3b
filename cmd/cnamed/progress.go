package main

import "cnamed/acmeclient"

// progress tells a person what happens to an order.
func (t *talk) progress(e acmeclient.Event) {
	switch e.Kind {
	case acmeclient.OrderOpened:
		t.say("the CA opened the order %s", e.URL)
	case acmeclient.AuthorizationReused:
		t.say("%s: the CA asks for no new proof", e.Name)
	case acmeclient.ChallengePresenting:
		t.say("%s: setting the challenge, and waiting until it is served", e.Name)
	case acmeclient.ChallengePresented:
		t.say("%s: it is served, telling the CA", e.Name)
	case acmeclient.AuthorizationValid:
		t.say("%s: the CA has seen it", e.Name)
	case acmeclient.AuthorizationFailed:
		t.say("%s: it failed", e.Name)
	case acmeclient.OrderFinalizing:
		t.say("asking for the certificate")
	case acmeclient.CertificateDownloaded:
		t.say("the certificate is here, checking it")
	}
}
