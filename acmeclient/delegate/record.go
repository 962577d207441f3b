package delegate

import (
	"fmt"
	"log/slog"
	"strings"
)

// Record is the credential of one delegated name: one entry of the credential file, and with ServerURL all that is
// needed to set its TXT values.
type Record struct {
	FullDomain string   `json:"fulldomain"` // the CNAME's target, without a final dot
	Subdomain  string   `json:"subdomain"`  // its first label
	Username   string   `json:"username"`
	Password   Secret   `json:"password"`
	ServerURL  string   `json:"server_url,omitempty"`
	AllowFrom  []string `json:"allowfrom,omitempty"` // CIDR prefixes from which updates are allowed; empty: from anywhere
}

// LogValue leaves the password out.
func (r Record) LogValue() slog.Value {
	return slog.GroupValue(slog.String("fulldomain", r.FullDomain), slog.String("server_url", r.ServerURL))
}

// CNAME returns the record with which the owner of domain delegates its challenges to r.
func (r Record) CNAME(domain string) CNAME { return CNAMEFor(domain, r.FullDomain) }

// CNAME is the record that delegates the challenges of one domain. Both names end with a dot.
type CNAME struct {
	Name   string `json:"name"`
	Target string `json:"target"`
}

// CNAMEFor returns the record that delegates the challenges of domain, whose "*." does not matter, to target.
func CNAMEFor(domain, target string) CNAME {
	return CNAME{challengeName(domain), strings.TrimSuffix(target, ".") + "."}
}

// String returns the record as a line of a zone file.
func (c CNAME) String() string { return c.Name + " CNAME " + c.Target }

// challengeName returns where the challenge of domain is looked for (RFC 8555 §8.4).
func challengeName(domain string) string { return "_acme-challenge." + Key(domain) + "." }

// Key returns the form in which a domain is the key of a credential file: lower case, without "*." and a final dot.
func Key(domain string) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(domain, "*."), "."))
}

// Secret is a password. It shows itself in JSON and by Reveal, and nowhere else.
type Secret string

const redacted = "[redacted]"

// Reveal returns the password.
func (s Secret) Reveal() string { return string(s) }

// String does not.
func (Secret) String() string { return redacted }

// Format keeps every verb of package fmt from showing it.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue keeps it out of logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
