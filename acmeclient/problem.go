package acmeclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The types of problems that a caller may branch on (RFC 8555 §6.7). CAs may send others.
const (
	problemSpace = "urn:ietf:params:acme:error:"

	ProblemAccountDoesNotExist     = problemSpace + "accountDoesNotExist"
	ProblemBadNonce                = problemSpace + "badNonce"
	ProblemCAA                     = problemSpace + "caa"
	ProblemExternalAccountRequired = problemSpace + "externalAccountRequired"
	ProblemOrderNotReady           = problemSpace + "orderNotReady"
	ProblemRateLimited             = problemSpace + "rateLimited"
	ProblemRejectedIdentifier      = problemSpace + "rejectedIdentifier"
	ProblemUserActionRequired      = problemSpace + "userActionRequired"
)

// A Problem is an error in the CA's own words: a problem document (RFC 9457), with what ACME adds to it.
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"` // a URL for a person to visit, if it is one
	Status   int    `json:"status"`

	// Identifier is the name that the problem is about. Nil: it is about all, or the CA does not say.
	Identifier *Identifier `json:"identifier"`

	// Subproblems have one entry for each name that is at fault (RFC 8555 §6.7.1).
	Subproblems []Subproblem `json:"subproblems"`

	// RetryAfter is how long the CA wants to be left alone, from the time of its reply. Zero: it does not say.
	RetryAfter time.Duration `json:"-"`

	// Help and TermsOfService are URLs from the reply's Link headers. They may be empty.
	Help           string `json:"-"`
	TermsOfService string `json:"-"`
}

// A Subproblem is the part of a problem that concerns one name.
type Subproblem struct {
	Type       string      `json:"type"`
	Title      string      `json:"title"`
	Detail     string      `json:"detail"`
	Identifier *Identifier `json:"identifier"`
}

// Error is one line: the domain, what the CA says, and the problem's type.
func (p *Problem) Error() string {
	parts := []string{describe(p.Identifier, p.Type, p.Title, p.Detail, p.Status)}
	for _, s := range p.Subproblems {
		parts = append(parts, describe(s.Identifier, s.Type, s.Title, s.Detail, 0))
	}
	return strings.Join(parts, "; ")
}

func describe(id *Identifier, kind, title, detail string, status int) string {
	var text strings.Builder
	if id != nil && id.Value != "" {
		text.WriteString(printable(id.Value, 300) + ": ")
	}
	switch {
	case detail != "":
		text.WriteString(printable(detail, 2000))
	case title != "":
		text.WriteString(printable(title, 2000))
	default:
		text.WriteString("the CA gives no details")
	}
	switch name := printable(strings.TrimPrefix(kind, problemSpace), 200); {
	case name != "" && name != "about:blank":
		fmt.Fprintf(&text, " (%s)", name)
	case status != 0:
		fmt.Fprintf(&text, " (%d %s)", status, http.StatusText(status))
	}
	return text.String()
}

// Hint says what a person can do, or "".
func (p *Problem) Hint() string {
	see := func(url string) string {
		if url == "" {
			return ""
		}
		return "; see " + printable(url, 500)
	}
	switch p.Type {
	case ProblemRateLimited:
		if p.RetryAfter > 0 {
			return "try again in " + p.RetryAfter.Round(time.Second).String() + see(p.Help)
		}
		return "try again later" + see(p.Help)
	case ProblemUserActionRequired:
		if p.Instance != "" {
			return "visit " + printable(p.Instance, 500)
		}
		return "the CA's terms of service have to be agreed to" + see(p.TermsOfService)
	case ProblemExternalAccountRequired:
		return "get an EAB key from the CA, it only takes accounts that are bound to one of its customers" + see(p.Help)
	case ProblemCAA:
		return "the CAA records of the domain must name the CA"
	}
	return strings.TrimPrefix(see(p.Help), "; ")
}

// IsProblem reports whether err is, or wraps, a problem of this type.
func IsProblem(err error, problemType string) bool {
	var p *Problem
	return errors.As(err, &p) && p.Type == problemType
}

// parseProblem returns nil when the body is not a problem document. The media type does not matter: some CAs send
// application/json.
func parseProblem(body []byte) *Problem {
	p := new(Problem)
	if err := json.Unmarshal(body, p); err != nil {
		return nil
	}
	if p.Type == "" && p.Title == "" && p.Detail == "" {
		return nil
	}
	return p
}

// failure returns nil for a reply that reports success, and otherwise a *Problem or a *ResponseError.
func (r *response) failure() error {
	if r.status >= 200 && r.status <= 299 {
		return nil
	}
	if r.status < 400 {
		return r.unexpected("a redirect, which a signed request must not follow")
	}
	p := parseProblem(r.body)
	if p == nil {
		return r.unexpected("not an ACME problem document")
	}
	p.Status = r.status
	p.RetryAfter, _ = r.retryAfter()
	if links := r.links("help"); len(links) > 0 {
		p.Help = links[0]
	}
	if links := r.links("terms-of-service"); len(links) > 0 {
		p.TermsOfService = links[0]
	}
	return p
}
