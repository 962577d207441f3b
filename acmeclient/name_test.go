package acmeclient

import (
	"slices"
	"strings"
	"testing"
)

func TestNamesAreNormalized(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 63)
	long := strings.Join([]string{label, label, label, strings.Repeat("a", 45)}, ".") // 237: with the prefix 253
	for given, want := range map[string]string{
		"example.com":            "example.com",
		"WWW.Example.COM.":       "www.example.com",
		"*.example.com":          "*.example.com",
		"münchen.example":        "xn--mnchen-3ya.example",
		"*.MÜNCHEN.example":      "*.xn--mnchen-3ya.example",
		"XN--MNCHEN-3YA.example": "xn--mnchen-3ya.example",
		"straße.example":         "xn--strae-oqa.example",
		"例え。テスト":                 "xn--r8jz45g.xn--zckzah",
		"ｅｘａｍｐｌｅ．ｃｏｍ":            "example.com",
		"example.com。":           "example.com",
		"1.2.3.example":          "1.2.3.example",
		"intranet":               "intranet",
		long:                     long,
		"*." + long:              "*." + long,
	} {
		got, err := NormalizeNames([]string{given})
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%q: %q, %v, want %q", given, got, err, want)
		}
	}
}

func TestDuplicateNamesLeave(t *testing.T) {
	t.Parallel()
	got, err := NormalizeNames([]string{"b.example", "*.a.example", "B.example.", "a.example", "*.A.example"})
	if want := []string{"b.example", "*.a.example", "a.example"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestBadNamesAreRefusedAllAtOnce(t *testing.T) {
	t.Parallel()
	bad := map[string]string{
		"":                         "it is empty",
		"192.0.2.1":                "IP address",
		"2001:db8::1":              "IP address",
		"[::1]":                    "IP address",
		"１９２.0.2.1":                "last label is a number",
		"example.123":              "last label is a number",
		"https://example.com/":     "bare domain",
		"example.com:443":          "bare domain",
		"someone@example.com":      "bare domain",
		"www.*.example.com":        "whole first label",
		"w*.example.com":           "whole first label",
		"*.*.example.com":          "whole first label",
		"*example.com":             "whole first label",
		"*":                        "whole first label",
		"*.":                       "not a domain name",
		".":                        "not a domain name",
		"a..example.com":           "not a domain name",
		".example.com":             "not a domain name",
		"_dmarc.example.com":       "underscore",
		"exa mple.com":             "not a domain name",
		" example.com":             "not a domain name",
		"exam\x00ple.com":          "not a domain name",
		"-a.example.com":           "not a domain name",
		"ab--c.example.com":        "not a domain name",
		"xn--a.example.com":        "not a domain name",
		"＊.example.com":            "not a domain name",
		strings.Repeat("a", 64):    "not a domain name",
		longName(238):              "too long",
		longName(260):              "not a domain name",
		"\xff\xfe.example.com":     "not a domain name",
		"xn--zn7c.com.example..\n": "not a domain name",
	}
	var names []string
	for name, want := range bad {
		names = append(names, name)
		if _, err := NormalizeNames([]string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", name, err, want)
		}
	}
	_, err := NormalizeNames(append(names, "fine.example.com"))
	all, ok := err.(allErrors)
	if !ok || len(all) != len(bad) {
		t.Errorf("%d names were refused, want %d", len(all), len(bad))
	}
	if _, err := NormalizeNames(nil); err == nil {
		t.Error("no names at all were accepted")
	}
}

// longName returns a name of n octets.
func longName(n int) string {
	var b strings.Builder
	for b.Len() < n {
		if b.Len()%50 == 49 && b.Len() != n-1 {
			b.WriteByte('.')
		} else {
			b.WriteByte('a')
		}
	}
	return b.String()
}
