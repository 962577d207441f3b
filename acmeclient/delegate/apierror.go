package delegate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// APIError is a reply of the server that is no success.
type APIError struct {
	Status     int           // the HTTP status
	Code       string        // the server's code, such as "forbidden"; empty when the reply has none
	URL        string        // what was asked
	RetryAfter time.Duration // when the server wants to be asked again; zero: it did not say

	location string
	basic    bool    // the reply asks for Basic authentication
	record   *Record // whose credentials were sent
}

func newAPIError(c call, resp *http.Response, body []byte) *APIError {
	e := &APIError{
		Status:     resp.StatusCode,
		URL:        c.address(),
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()),
		location:   resp.Header.Get("Location"),
		basic:      strings.HasPrefix(strings.ToLower(resp.Header.Get("WWW-Authenticate")), "basic"),
		record:     c.record,
	}
	var reply struct{ Error string }
	if json.Unmarshal(body, &reply) == nil && isCode(reply.Error) {
		e.Code = reply.Error
	}
	return e
}

// isCode keeps what is printed to the form of a code.
func isCode(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}

func (e *APIError) Error() string {
	text := fmt.Sprintf("%s answers %d", e.URL, e.Status)
	switch {
	case e.Code != "":
		return text + " " + e.Code
	case http.StatusText(e.Status) != "":
		return text + " " + strings.ToLower(http.StatusText(e.Status))
	}
	return text
}

// Hint says what to check.
func (e *APIError) Hint() string {
	switch {
	case e.Status/100 == 3:
		return "the server sends elsewhere, which is not followed with credentials: use the address " + e.location
	case e.basic:
		return "a server in front of the API wants a user name and password: put them into the address, https://user:password@host"
	case e.Code == "token_required" || e.Code == "invalid_token":
		return "the server wants a registration token that its operator made: https://TOKEN@host, or https://host/t/TOKEN, as its address"
	case e.record == nil && (e.Status == 401 || e.Status == 403 || e.Status == 404):
		return "the server is closed for registration, or the address is not that of its API: ask its operator"
	case e.Status == 401 && len(e.record.AllowFrom) > 0:
		return "check that this machine's address is in " + strings.Join(e.record.AllowFrom, ", ") +
			", from where alone the server takes updates, and that the credentials are of this server"
	case e.Status == 401:
		return "check that the credentials are of this server, that it still has them, and that they allow this machine's address"
	case e.Code == "invalid_allowfrom_cidr":
		return "give address ranges in CIDR form, such as 192.0.2.0/24 or 2001:db8::/32; for one address 192.0.2.1/32"
	case e.Status == 404:
		return "the address is not that of the server's API"
	case e.Status == 429:
		return "the server limits requests: try again later"
	case e.Status >= 500:
		return "the server is in trouble: try again later, or see its log"
	}
	return ""
}

// ReplyError is a success by status whose content cannot be used.
type ReplyError struct {
	URL string
	Err error
}

func (e *ReplyError) Error() string {
	return fmt.Sprintf("the reply of %s cannot be used: %v", e.URL, e.Err)
}

// Unwrap returns what is wrong with the reply.
func (e *ReplyError) Unwrap() error { return e.Err }

// Hint says what to check.
func (e *ReplyError) Hint() string {
	return "check that the address is that of a cnamed or acme-dns server"
}

// ConnectError says that a server gave no reply.
type ConnectError struct {
	URL string
	Err error
}

func (e *ConnectError) Error() string { return fmt.Sprintf("no reply from %s: %v", e.URL, e.Err) }

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// Hint says what to check.
func (e *ConnectError) Hint() string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(e.Err, &authority):
		return "if the server has a certificate of a private CA, give that CA's root: --server-root FILE"
	case errors.As(e.Err, &host):
		return "use a host name of the server that is in its certificate"
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is out of date (or this machine's clock): its operator has to renew it"
	case errors.As(e.Err, &verify):
		return "the server's certificate cannot be verified: --server-root FILE gives the root of a private CA"
	case errors.As(e.Err, &record):
		return "the server does not speak TLS there: check the port, or use http:// for a loopback address"
	case isPlainHTTP(e.Err):
		return "the server does not speak TLS there: check the port, or use http:// for a loopback address"
	}
	return "check the address, and that the server runs and can be reached from here"
}

// isPlainHTTP recognises an error of net/http that has no type.
func isPlainHTTP(err error) bool {
	return strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

const reasonClear = "the credentials would cross the network in clear"

// AddressError says why the address of a server cannot be used.
type AddressError struct {
	URL    string // without its password
	Reason string
}

func (e *AddressError) Error() string { return fmt.Sprintf("server address %q: %s", e.URL, e.Reason) }

// Hint says what to write instead.
func (e *AddressError) Hint() string {
	if e.Reason == reasonClear {
		return "use https://; http:// is for a loopback address, or with --allow-http"
	}
	return "give the server as https://HOST, with a path if its API has one"
}
