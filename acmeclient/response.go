package acmeclient

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// A ResponseError is a reply that is not ACME at all: a proxy's error page, a web site, garbage.
type ResponseError struct {
	Method, URL string
	Status      int    // HTTP
	ContentType string // as sent, may be empty
	Reason      string // what is wrong with it
	Excerpt     string // the beginning of the body, in one line
}

func (e *ResponseError) Error() string {
	text := fmt.Sprintf("%s %s: unexpected reply %d %s: %s", e.Method, e.URL, e.Status, http.StatusText(e.Status), e.Reason)
	if e.Excerpt == "" {
		return text
	}
	return fmt.Sprintf("%s: %q", text, e.Excerpt)
}

func (r *response) unexpected(reason string) *ResponseError {
	return &ResponseError{
		Method: r.method, URL: r.url, Status: r.status, Reason: reason,
		ContentType: r.header.Get("Content-Type"), Excerpt: printable(string(r.body[:min(len(r.body), 1000)]), 120),
	}
}

func (r *response) decode(v any) error {
	if err := json.Unmarshal(r.body, v); err != nil {
		return r.unexpected("not the JSON that ACME wants here (" + printable(err.Error(), 200) + ")")
	}
	return nil
}

// location is the URL of a resource that the CA has made. "" if there is none.
func (r *response) location() string {
	value := r.header.Get("Location")
	if value == "" {
		return ""
	}
	return r.resolve(value)
}

// resolve makes a reference in a header absolute.
func (r *response) resolve(reference string) string {
	base, err := url.Parse(r.url)
	if err != nil {
		return reference
	}
	u, err := base.Parse(reference)
	if err != nil {
		return reference
	}
	return u.String()
}

// links returns the targets of the Link headers with this relation (RFC 8288), made absolute.
func (r *response) links(relation string) []string {
	var targets []string
	for _, header := range r.header.Values("Link") {
		for header != "" {
			_, rest, ok := strings.Cut(header, "<")
			if !ok {
				break
			}
			target, rest, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			parameters, next, _ := strings.Cut(rest, "<")
			if hasRelation(parameters, relation) {
				targets = append(targets, r.resolve(target))
			}
			if next == "" {
				break
			}
			header = "<" + next
		}
	}
	return targets
}

func hasRelation(parameters, relation string) bool {
	for parameter := range strings.FieldsFuncSeq(parameters, func(c rune) bool { return c == ';' || c == ',' }) {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		for one := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
			if strings.EqualFold(one, relation) {
				return true
			}
		}
	}
	return false
}

// printable makes the CA's text fit for one line of a terminal or a log: no control characters, no invalid UTF-8, no runs of
// white space, and at most limit runes.
func printable(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return string(runes)
}
