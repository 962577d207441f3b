package acmeclient

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestRenewalTime(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	start := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for _, test := range []struct{ lifetime, want time.Duration }{
		{90 * day, 60 * day},
		{45 * day, 30 * day},
		{200 * day, 200 * day * 2 / 3},
		{10 * day, 10 * day * 2 / 3},
		{10*day - time.Second, (10*day - time.Second) / 2},
		{160 * time.Hour, 80 * time.Hour},
		{2 * time.Hour, time.Hour},
	} {
		// CAs end a certificate of 90 days one second before the 90 days are over, because that second is included.
		leaf := &x509.Certificate{NotBefore: start, NotAfter: start.Add(test.lifetime - time.Second)}
		if got := RenewalTime(leaf).Sub(start); got.Round(time.Second) != test.want.Round(time.Second) {
			t.Errorf("lifetime %v: due after %v, want %v", test.lifetime, got, test.want)
		}
	}
}
