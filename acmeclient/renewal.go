package acmeclient

import (
	"crypto/x509"
	"time"
)

// shortLived is the lifetime below which a certificate is renewed at half of it, as Let's Encrypt recommends.
const shortLived = 10 * 24 * time.Hour

// RenewalTime returns when a certificate is due: with a third of its lifetime left, or half for one that lives for less than
// ten days.
func RenewalTime(leaf *x509.Certificate) time.Time {
	end := leaf.NotAfter.Add(time.Second) // RFC 5280 §4.1.2.5: the last second is part of the validity
	lifetime := end.Sub(leaf.NotBefore)
	if lifetime < shortLived {
		return end.Add(-lifetime / 2)
	}
	return end.Add(-lifetime / 3)
}
