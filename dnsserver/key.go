package dnsserver

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A Key signs and verifies messages, RFC 8945.
type Key struct {
	Name      string // a domain name, and the same at both ends
	Algorithm string // one of KeyAlgorithms
	Secret    Secret
}

// Secret is the octets of a key. Formatting, logging and encoding it give "[redacted]".
type Secret string

const redacted = "[redacted]"

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", so that encoders do not leak by accident.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format writes "[redacted]" for every verb. String alone would leave %d.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// keyAlgorithms are those of RFC 8945 §6 but for the ones that nobody should use any more (MD5, GSS).
var keyAlgorithms = map[string]func() hash.Hash{
	"hmac-sha1":   sha1.New,
	"hmac-sha224": sha256.New224,
	"hmac-sha256": sha256.New,
	"hmac-sha384": sha512.New384,
	"hmac-sha512": sha512.New,
}

// KeyAlgorithms returns the names of the algorithms of keys.
func KeyAlgorithms() []string { return slices.Sorted(maps.Keys(keyAlgorithms)) }

// key is a Key made ready.
type key struct {
	name      name
	algorithm name
	hash      func() hash.Hash
	secret    []byte
}

// A Keyring is the keys of a server. It does not change, and is safe for concurrent use.
type Keyring struct {
	keys map[string]*key // by name in wire form, lower case
}

// NewKeyring takes keys in. Two cannot have one name.
func NewKeyring(keys ...Key) (*Keyring, error) {
	ring := &Keyring{keys: make(map[string]*key)}
	for _, k := range keys {
		made, err := newKey(k)
		if err != nil {
			return nil, err
		}
		if ring.find(&made.name) != nil {
			return nil, fmt.Errorf("the key %s is there twice", k.Name)
		}
		ring.keys[string(made.name.wire[:made.name.size])] = made
	}
	return ring, nil
}

func newKey(k Key) (*key, error) {
	owner, err := parseName(k.Name)
	if err != nil || owner.labels == 0 {
		return nil, fmt.Errorf("the key %q has no domain name for a name", k.Name)
	}
	newHash := keyAlgorithms[strings.ToLower(strings.TrimSuffix(k.Algorithm, "."))]
	if newHash == nil {
		return nil, fmt.Errorf("the key %s has the algorithm %q, which is none of %s", k.Name, k.Algorithm,
			strings.Join(KeyAlgorithms(), ", "))
	}
	if k.Secret == "" {
		return nil, fmt.Errorf("the key %s has no secret", k.Name)
	}
	algorithm, _ := parseName(k.Algorithm)
	return &key{name: *owner, algorithm: *algorithm, hash: newHash, secret: []byte(string(k.Secret))}, nil
}

// find returns the key with a name, nil if there is none.
func (r *Keyring) find(n *name) *key {
	if r == nil {
		return nil
	}
	return r.keys[string(n.wire[:n.size])]
}

// tsig is the variables of a TSIG record that are signed, RFC 8945 §4.2.
type tsig struct {
	time  uint64 // 48 bits
	fudge uint16
	code  uint16 // the error
	other []byte
}

// mac returns the MAC of a message without its TSIG, RFC 8945 §4.3. prior is the MAC of the request, or of the message
// before in a sequence; nil for a request. In a sequence all messages but the first sign the times only (§5.3.1).
func (k *key) mac(prior, msg []byte, t *tsig, timesOnly bool) []byte {
	h := hmac.New(k.hash, k.secret)
	var b []byte
	if prior != nil {
		h.Write(append(binary.BigEndian.AppendUint16(b, uint16(len(prior))), prior...))
	}
	h.Write(msg)
	if !timesOnly {
		b = append(b, k.name.wire[:k.name.size]...)
		b = binary.BigEndian.AppendUint16(b, dns.ClassANY)
		b = binary.BigEndian.AppendUint32(b, 0)
		b = append(b, k.algorithm.wire[:k.algorithm.size]...)
	}
	b = t.appendTimes(b)
	if !timesOnly {
		b = binary.BigEndian.AppendUint16(b, t.code)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(t.other))), t.other...)
	}
	h.Write(b)
	return h.Sum(nil)
}

func (t *tsig) appendTimes(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(t.time>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(t.time))
	return binary.BigEndian.AppendUint16(b, t.fudge)
}
