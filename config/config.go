// Package config is the configuration of the server: one documented struct,
// and the one table of settings that the configuration file, the environment
// and the command line share.
//
// It promises that every mistake is reported, with its place and a hint, in one
// go; and that a Config without problems has only values of the right form. It
// does not know what the values are for: whether a DNS record fits the zone, or
// a port is free, is found by those who use it, who report back through
// [Config.Problem] so that their findings carry a place too.
package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Config is all that `cnamed serve` can be told. The zero value of no field is
// meaningful: use [Load], which fills in the defaults of [Settings].
type Config struct {
	// Domain is the origin of the zone that is served, in lower case and
	// without the trailing dot: "auth.example.org".
	Domain string

	// IPs are the public addresses of this server, the A and AAAA records of
	// Domain and of the name servers inside it.
	IPs []netip.Addr

	// Data is the folder of the database and of the API's own certificate.
	Data string

	// Database is the database that this server shares with others. Empty: it has
	// its own, in Data.
	Database Database

	// Zones are served beside that of Domain.
	Zones []Zone

	DNS  DNS
	API  API
	ACME ACME
	Log  Log

	origins map[string][]Origin
	zonesAt []Origin // the headers of Zones
}

// DNS configures the authoritative server.
type DNS struct {
	// Listen are the addresses, host:port, that are bound for UDP and for TCP.
	Listen []string

	// NameServers are the host names of the zone's NS records. Empty: Domain
	// itself is its only name server.
	NameServers []string

	// Admin is the mailbox of the SOA record, as hostmaster@example.org.
	Admin string

	// Records are further records of the zone, one in zone-file form each.
	Records []string

	// TTL is that of challenge values, in whole seconds.
	TTL time.Duration

	// NegativeTTL is how long resolvers may remember that a name or a value is
	// absent, in whole seconds: the MINIMUM field of the SOA record.
	NegativeTTL time.Duration

	// ReplyLimit is how many replies in a second one address gets over UDP.
	// Zero: no limit.
	ReplyLimit int

	// ReplyLimitExempt are the networks without that limit.
	ReplyLimitExempt []netip.Prefix

	// Cookies answers DNS cookies (RFC 7873), with the secrets in the file
	// CookieSecrets. Empty: one in Data, which the server makes, or the secret in
	// Database.
	Cookies       bool
	CookieSecrets string

	// NSID, Identity and Version are what the server tells of itself: the
	// option of RFC 5001, id.server, and version.server. Empty: nothing.
	NSID, Identity, Version string

	// Keys sign transfers and what tells of changes, for all zones. With a Database
	// rules can name others, which are there: see MissingKeys.
	Keys []Key

	// TransferTo are the clients that may transfer the zone of Domain.
	TransferTo []Peer

	// Notify are the servers that are told of its changes.
	Notify []Secondary
}

// API configures the HTTP API.
type API struct {
	// Listen are the addresses, host:port, that are bound.
	Listen []string

	// TLS is where the API's certificate comes from.
	TLS TLSMode

	// Cert and Key are the PEM files of TLSFile.
	Cert, Key string

	// Registration is who may register.
	Registration RegistrationMode

	// ChosenNames lets those who register choose the subdomain.
	ChosenNames bool

	// RegisterLimit bounds the registrations from one address, FailureLimit its
	// failures to authenticate. The zero Rate is no limit.
	RegisterLimit, FailureLimit Rate

	// TrustedProxies may say for whom they ask.
	TrustedProxies []netip.Prefix

	// ProxyHeader is the header in which they do, in canonical form. Empty: none.
	ProxyHeader string

	// ProxyProtocol expects their connections to begin with a header of the
	// PROXY protocol, version 2.
	ProxyProtocol bool

	// CORSOrigins are the origins, in the form in which browsers send them,
	// whose pages may use the API, or "*" for all.
	CORSOrigins []string
}

// RegistrationMode is who may register.
type RegistrationMode string

// The modes of registration.
const (
	RegistrationOpen   RegistrationMode = "open"   // everybody
	RegistrationToken  RegistrationMode = "token"  // who has a token of the operator
	RegistrationClosed RegistrationMode = "closed" // nobody
)

// Rate is how often something may happen: N times in each Per.
type Rate struct {
	N   int
	Per time.Duration
}

// TLSMode is where the certificate of the API comes from.
type TLSMode string

// The modes of the API's certificate.
const (
	TLSACME TLSMode = "acme" // issued and renewed by the server itself
	TLSFile TLSMode = "file" // read from files, and again when they change
	TLSNone TLSMode = "none" // plain HTTP, for a reverse proxy in front
)

// ACME configures how the API's own certificate is obtained.
type ACME struct {
	// CA is the name of a preset or the URL of a directory (RFC 8555 §7.1.1).
	CA string

	// Root is a PEM file with the roots that vouch for the CA's own HTTPS.
	// Empty: the system's.
	Root string

	// Email is the contact of the account. Optional.
	Email string
}

// Log configures the log, which goes to standard error.
type Log struct {
	Level slog.Level
	JSON  bool
}
