package acmeclient

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// A NameError says why a name cannot be in a certificate that dns-01 proves.
type NameError struct {
	Name string // as given
	Err  error
}

func (e *NameError) Error() string { return fmt.Sprintf("domain %q: %v", e.Name, e.Err) }

// Unwrap returns Err.
func (e *NameError) Unwrap() error { return e.Err }

// idnaProfile is UTS #46 without transitional mapping, as browsers look names up, restricted to host names: letters, digits
// and hyphens (RFC 5280 §4.2.1.6).
var idnaProfile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.CheckJoiners(true),
	idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// NormalizeNames returns names in the form in which certificates have them: lower case, Punycode for international names, no
// final dot. "*." may stand at the front. Duplicates leave, and the order stays. Every name at fault has its own [*NameError]
// in the error.
func NormalizeNames(names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, errors.New("no domain given")
	}
	var normal []string
	var failures errorList
	for _, name := range names {
		n, err := normalizeName(name)
		if err != nil {
			failures.add(&NameError{Name: name, Err: err})
			continue
		}
		if !slices.Contains(normal, n) {
			normal = append(normal, n)
		}
	}
	if err := failures.err(); err != nil {
		return nil, err
	}
	return normal, nil
}

// BaseDomain strips "*.": it is the domain whose challenge proves name.
func BaseDomain(name string) string { return strings.TrimPrefix(name, "*.") }

func normalizeName(name string) (string, error) {
	base := BaseDomain(name)
	switch {
	case name == "":
		return "", errors.New("it is empty")
	case !utf8.ValidString(name):
		return "", errors.New("it is not a domain name (not UTF-8)")
	case isAddress(name):
		return "", errors.New("it is an IP address, which dns-01 cannot prove")
	case strings.ContainsAny(name, "/:@"):
		return "", errors.New("give the bare domain, without scheme, port, path or user")
	case strings.Contains(base, "*"):
		return "", errors.New("a wildcard can only be the whole first label, as in *.example.com")
	case strings.Contains(base, "_"):
		return "", errors.New("certificates cannot have names with an underscore")
	}
	ascii, err := idnaProfile.ToASCII(base)
	if err != nil {
		return "", fmt.Errorf("it is not a domain name (%s)", printable(err.Error(), 200))
	}
	return checkName(strings.TrimSuffix(ascii, "."), name != base)
}

// checkName sees the name as it will be ordered. Mapping turns full-width digits and dots, for example, into plain ones.
func checkName(base string, wildcard bool) (string, error) {
	const challengePrefix = "_acme-challenge."
	labels := strings.Split(base, ".")
	last := labels[len(labels)-1]
	switch {
	case slices.Contains(labels, ""):
		return "", errors.New("it has an empty label")
	case strings.Trim(last, "0123456789") == "":
		return "", errors.New("its last label is a number, so it is not a domain name")
	case len(challengePrefix+base) > 253:
		return "", errors.New("it is too long for " + challengePrefix + "<domain> to be a name")
	case wildcard:
		return "*." + base, nil
	}
	return base, nil
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil
}
