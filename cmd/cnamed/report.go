package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// usageError is a command line that makes no sense.
type usageError struct{ msg, remedy string }

func (e *usageError) Error() string { return e.msg }
func (e *usageError) Hint() string  { return e.remedy }

// asUsage makes err one about the command line; nil stays nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err.Error(), hintOf(err)}
}

// hintError adds to an error the command or the record that mends it.
type hintError struct {
	err    error
	remedy string
}

func withHint(err error, remedy string) error { return &hintError{err, remedy} }

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }
func (e *hintError) Hint() string  { return e.remedy }

// report prints every error that err holds, each with its hint.
func report(w io.Writer, err error) {
	if all := parts(err); all != nil {
		for _, e := range all {
			report(w, e)
		}
		return
	}
	fmt.Fprintf(w, "cnamed: error: %s\n", indent(err.Error()))
	if h := hintOf(err); h != "" {
		fmt.Fprintf(w, "cnamed: hint: %s\n", indent(h))
	}
}

// parts returns the errors that err is nothing but the list of, as errors.Join
// makes it; and nil for an error that says more than its parts.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var lines []string
	for _, e := range joined.Unwrap() {
		lines = append(lines, e.Error())
	}
	if strings.Join(lines, "\n") != err.Error() {
		return nil
	}
	return joined.Unwrap()
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		return h.Hint()
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return "is the address right, and can this machine reach it? See --ca, and the proxy in HTTPS_PROXY"
	}
	// Those of the API have a hint of their own: what is left is the CA's.
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return "if the CA is a private one, name the root of its HTTPS with --ca-root FILE (--acme-ca-root for serve)"
	}
	return ""
}

// indent keeps the further lines of a message visibly part of it.
func indent(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ") }

func quote(s string) string { return strconv.Quote(s) }
