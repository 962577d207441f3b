package dnsserver

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/dchest/siphash"
	"github.com/miekg/dns"
)

const (
	clientCookieSize = 8                            // RFC 7873 §4
	cookieSize       = clientCookieSize + 16        // RFC 9018 §4
	minServerCookie  = 8                            // RFC 7873 §4: what another server may have made
	maxCookieSize    = clientCookieSize + 32        //
	cookieVersion    = 1                            // RFC 9018 §4.1
	cookieMaxAge     = int32(time.Hour / 1e9)       // RFC 9018 §4.3
	cookieMaxAhead   = int32(5 * time.Minute / 1e9) //
	cookieRenewAge   = int32(30 * time.Minute / 1e9)
)

// CookieSecret is the secret of DNS cookies, RFC 9018 §4.4. All servers of a name, of whatever make, have the same.
type CookieSecret [16]byte

// ParseCookieSecret reads a secret of 32 hexadecimal digits.
func ParseCookieSecret(text string) (secret CookieSecret, err error) {
	// The decoder's own error would quote from the secret.
	if n, err := hex.Decode(secret[:], []byte(text[:min(len(text), 2*len(secret))])); err != nil || n != len(secret) ||
		len(text) != 2*len(secret) {
		return CookieSecret{}, errors.New("a cookie secret has 32 hexadecimal digits")
	}
	return secret, nil
}

// NewCookieSecret draws a secret.
func NewCookieSecret() (secret CookieSecret) {
	rand.Read(secret[:]) // never fails
	return secret
}

// Reveal returns the secret in the form that ParseCookieSecret reads.
func (s CookieSecret) Reveal() string { return hex.EncodeToString(s[:]) }

// String implements [fmt.Stringer] without the secret.
func (s CookieSecret) String() string { return "[redacted]" }

// GoString implements [fmt.GoStringer] without the secret.
func (s CookieSecret) GoString() string { return s.String() }

// LogValue implements [slog.LogValuer] without the secret.
func (s CookieSecret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// cookie is the COOKIE option of a reply, and what that of the request was worth.
type cookie struct {
	given    bool
	octets   [cookieSize]byte
	verified bool // the client has its address, and not long ago
}

// setCookie reads the cookie of a request and makes that of the reply.
func (s *Server) setCookie(q *query, client netip.Addr) {
	asked := q.edns.cookie
	switch {
	case s.NoCookies:
		q.edns.cookie = nil // an unknown option
		return
	case len(asked) != clientCookieSize && (len(asked) < clientCookieSize+minServerCookie || len(asked) > maxCookieSize):
		q.edns.faulty = true // RFC 7873 §5.2.2
		return
	}
	c, now := &q.options.cookie, s.now()
	c.given = true
	copy(c.octets[:], asked)
	if fresh := c.verify(len(asked), s.cookieSecrets, client, now); !fresh {
		copy(c.octets[clientCookieSize:], []byte{cookieVersion, 0, 0, 0})
		binary.BigEndian.PutUint32(c.octets[12:], uint32(now.Unix()))
		binary.LittleEndian.PutUint64(c.octets[16:], c.hash(&s.cookieSecrets[0], client))
	}
}

// verify sets c.verified, RFC 9018 §4. It returns false when the client should get a new cookie: it has none that is
// valid, or an old one, or one of a secret that goes out of use (RFC 9018 §5).
func (c *cookie) verify(size int, secrets []CookieSecret, client netip.Addr, now time.Time) (fresh bool) {
	if size != cookieSize || c.octets[8] != cookieVersion {
		return false
	}
	// RFC 9018 §4.3: serial number arithmetic.
	age := int32(uint32(now.Unix()) - binary.BigEndian.Uint32(c.octets[12:]))
	if age > cookieMaxAge || age < -cookieMaxAhead {
		return false
	}
	given := binary.LittleEndian.Uint64(c.octets[16:])
	for i := range secrets {
		if c.hash(&secrets[i], client) == given {
			c.verified = true
			return i == 0 && age <= cookieRenewAge
		}
	}
	return false
}

// hash is that of RFC 9018 §4.4: of the client's cookie, version, reserved octets as they are, time, and address.
func (c *cookie) hash(secret *CookieSecret, client netip.Addr) uint64 {
	var input [16 + 16]byte
	size := copy(input[:], c.octets[:16])
	if client.Is4() {
		addr := client.As4()
		size += copy(input[16:], addr[:])
	} else {
		addr := client.As16()
		size += copy(input[16:], addr[:])
	}
	return siphash.Hash(binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:]), input[:size])
}

// answerCookie replies to a query that is for a cookie alone, RFC 7873 §5.4.
func (q *query) answerCookie() {
	if len(q.edns.cookie) > clientCookieSize && !q.options.cookie.verified {
		q.rcode = dns.RcodeBadCookie
	}
}
