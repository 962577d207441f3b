package config

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
)

// Key is a TSIG key, RFC 8945.
type Key struct {
	Name      string // in lower case, without the trailing dot
	Algorithm string
	Secret    Secret
}

// Secret is the octets of a key. Formatting, logging and encoding it give
// "[redacted]"; Reveal gives the octets.
type Secret string

const redacted = "[redacted]"

// Reveal returns the octets themselves.
func (s Secret) Reveal() string { return string(s) }

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

const keyExample = "write it as in hmac-sha256:xfr.example.org:c2VjcmV0…; tsig-keygen makes one for a file"

// Reveal returns the key in the form that ParseKey takes, with its secret.
func (k Key) Reveal() string {
	return k.Algorithm + ":" + k.Name + ":" + base64.StdEncoding.EncodeToString([]byte(k.Secret.Reveal()))
}

// ParseKey takes algorithm:name:secret, as dig -y does. No error says what it
// was given.
func ParseKey(s string) (Key, error) {
	parts := strings.Split(strings.TrimSpace(s), ":")
	if len(parts) != 3 {
		return Key{}, &ValueError{"not a key of three parts", keyExample}
	}
	return newKey(parts[1], parts[0], parts[2])
}

func newKey(name, algorithm, secret string) (k Key, err error) {
	if k.Name, err = parseKeyName(name); err != nil {
		return Key{}, err
	}
	if k.Algorithm, err = oneOf(strings.ToLower(algorithm),
		"hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1"); err != nil {
		return Key{}, err
	}
	octets, err := base64.StdEncoding.DecodeString(secret)
	if err != nil || len(octets) == 0 {
		return Key{}, &ValueError{fmt.Sprintf("the secret of the key %s is not base64", k.Name), keyExample}
	}
	k.Secret = Secret(octets)
	return k, nil
}

func parseKeyName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	for _, l := range strings.Split(name, ".") {
		if !isHostLabel(strings.ReplaceAll(l, "_", "x")) || len(name) > 253 {
			return "", &ValueError{fmt.Sprintf("%q is not the name of a key", s), "give one as xfr.example.org"}
		}
	}
	return name, nil
}

// keyClause is a key as tsig-keygen of BIND writes it, and named reads it.
var keyClause = regexp.MustCompile(`(?s)key\s+"?([^\s"{]+)"?\s*\{\s*algorithm\s+"?([^\s";]+)"?\s*;\s*secret\s+"?([^\s";]+)"?\s*;\s*\}\s*;`)

// readKeys takes the keys of a file: lines of algorithm:name:secret, or clauses
// of tsig-keygen. Nobody but the owner may be able to read it.
func readKeys(path string) ([]Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, &ValueError{fmt.Sprintf("the file cannot be read: %v", err), "tsig-keygen xfr.example.org makes one"}
	}
	if othersMay(info) {
		return nil, &ValueError{fmt.Sprintf("%s can be read by others than its owner", path), "chmod 600 " + path}
	}
	data, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	text := string(data)
	var keys []Key
	for _, m := range keyClause.FindAllStringSubmatch(text, -1) {
		k, err := newKey(m[1], m[2], m[3])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		keys = append(keys, k)
	}
	n := 0
	for line := range strings.Lines(keyClause.ReplaceAllStringFunc(text, func(s string) string {
		return strings.Repeat("\n", strings.Count(s, "\n"))
	})) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := ParseKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, &ValueError{fmt.Sprintf("%s has no key in it", path), keyExample}
	}
	return keys, nil
}

// addKeys takes keys into the configuration. Two of one name are a mistake: which
// would count?
func (c *Config) addKeys(keys ...Key) error {
	for _, k := range keys {
		for _, have := range c.DNS.Keys {
			if have.Name == k.Name {
				return &ValueError{fmt.Sprintf("the key %s is there twice", k.Name), "remove one of them"}
			}
		}
		c.DNS.Keys = append(c.DNS.Keys, k)
	}
	return nil
}
