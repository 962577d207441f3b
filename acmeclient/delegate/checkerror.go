package delegate

import (
	"errors"
	"fmt"
	"strings"
)

// Problem is the way in which a domain is not delegated.
type Problem int

// The problems.
const (
	Missing    Problem = iota // there is no record
	Elsewhere                 // the CNAMEs lead to another name, Found, and end there
	TXTInstead                // there is a TXT record in the CNAME's place
	Misplaced                 // the record is at Found, where the zone's name was appended to its own
	Disagree                  // the servers say different things
	Loop                      // the CNAMEs lead back to Found, or on without end
)

// NotDelegatedError says that _acme-challenge.<domain> does not lead to the target.
type NotDelegatedError struct {
	Domain  string
	Name    string // _acme-challenge.<domain>, with the final dot, as Target and Found
	Target  string
	Problem Problem
	Found   string
	Zone    string // where the chain ends; empty when resolvers that the user named were asked
	Views   []View // what each server said about the last name of the chain
}

func (e *NotDelegatedError) Error() string {
	text := strings.TrimSuffix(e.Name, ".") + " is not delegated: "
	switch e.Problem {
	case Elsewhere:
		return text + "it leads to " + e.Found + " instead of " + e.Target
	case TXTInstead:
		return text + "there is a TXT record instead of the CNAME"
	case Misplaced:
		return text + "the CNAME is at " + e.Found
	case Disagree:
		return text + "the name servers do not agree: " + join(e.Views)
	case Loop:
		return text + "the CNAMEs go in a circle, or on without end, at " + e.Found
	}
	return text + "there is no CNAME record"
}

// Hint gives the record that is needed.
func (e *NotDelegatedError) Hint() string {
	record := CNAMEFor(e.Domain, e.Target).String()
	switch e.Problem {
	case Elsewhere:
		if e.Zone != "" && e.Found == e.Target+e.Zone {
			return "the zone's name was appended to the target: write the target with a final dot: " + record
		}
		return "change the record to: " + record
	case TXTInstead:
		return "remove the TXT record and add: " + record
	case Misplaced:
		return "the zone's name was appended: give the record the name " + strings.TrimSuffix(e.Name, "."+e.Zone) +
			", or with a final dot: " + record
	case Disagree:
		return "wait until all name servers have the record, or see why the zone does not reach them: " + record
	case Loop:
		return "change the records so that they lead to the target: " + record
	}
	return "add the record " + record
}

// UndeterminedError says that it cannot be told what the DNS has: no server of a zone gave a usable answer, or its servers
// could not be found.
type UndeterminedError struct {
	Name  string
	Zone  string // empty when not known
	Views []View // what each server said, if any was asked
	Err   error  // why not all servers could be asked; may be nil
}

func undetermined(name, zone string, views []View, err error) error {
	return &UndeterminedError{Name: name, Zone: zone, Views: views, Err: err}
}

func (e *UndeterminedError) Error() string {
	text := "cannot tell what " + strings.TrimSuffix(e.Name, ".") + " is"
	if len(e.Views) > 0 {
		text += ": no server gives an answer: " + join(e.Views)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause, which may be nil.
func (e *UndeterminedError) Unwrap() error { return e.Err }

// Hint says what to try.
func (e *UndeterminedError) Hint() string {
	for _, v := range e.Views {
		if v.Says == errNotAuthoritative.Error() {
			return "if this network intercepts DNS, use a resolver that you trust for all lookups: --resolver ADDRESS"
		}
	}
	return "check the zone's name servers; where they cannot be reached from this network: --resolver ADDRESS"
}

// NotServedError says which servers do not have all values of a challenge.
type NotServedError struct {
	Domain string
	Name   string // whose TXT records they are
	Zone   string // empty when resolvers that the user named were asked
	Values []string
	Views  []View // of the servers that lack a value
}

func (e *NotServedError) Error() string {
	return fmt.Sprintf("%s: not all name servers have the values %q: %s", strings.TrimSuffix(e.Name, "."), e.Values, join(e.Views))
}

// Hint says what to check.
func (e *NotServedError) Hint() string {
	if e.Zone == "" {
		return "the resolver may keep an old answer; without --resolver the authoritative servers are asked"
	}
	return "the update was accepted: check that the servers of " + e.Zone + " are those of the API that was asked"
}

func join(views []View) string {
	texts := make([]string, 0, len(views))
	for _, v := range views {
		texts = append(texts, v.String())
	}
	return strings.Join(texts, "; ")
}

// isConfig reports whether err will not go away by waiting.
func isConfig(err error) bool {
	var config *ResolverError
	return errors.As(err, &config)
}
