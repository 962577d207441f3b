package acmeclient

import (
	"fmt"
	"strings"
)

// A Preset is a public CA.
type Preset struct {
	Name        string // "letsencrypt"
	Directory   string // URL
	Description string
	EAB         bool // an account needs external account binding
}

// Presets are the public CAs that have a name here. A name that ends in "-staging" is the test environment of the one before.
var Presets = []Preset{
	{"letsencrypt", "https://acme-v02.api.letsencrypt.org/directory", "Let's Encrypt", false},
	{"letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory", "Let's Encrypt, untrusted test certificates", false},
	{"google", "https://dv.acme-v02.api.pki.goog/directory", "Google Trust Services", true},
	{"google-staging", "https://dv.acme-v02.test-api.pki.goog/directory", "Google Trust Services, untrusted test certificates", true},
	{"zerossl", "https://acme.zerossl.com/v2/DV90", "ZeroSSL", true},
	{"sslcom-ecc", "https://acme.ssl.com/sslcom-dv-ecc", "SSL.com, for ECDSA keys", true},
	{"sslcom-rsa", "https://acme.ssl.com/sslcom-dv-rsa", "SSL.com, for RSA keys", true},
	{"sectigo", "https://acme.sectigo.com/v2/DV", "Sectigo", true},
	{"actalis", "https://acme-api.actalis.com/acme/directory", "Actalis", true},
}

// An UnknownCAError is a name that is neither a preset nor a URL.
type UnknownCAError struct{ Name string }

func (e *UnknownCAError) Error() string {
	return fmt.Sprintf("%q is neither the name of a CA nor the URL of an ACME directory", e.Name)
}

// Hint lists the presets.
func (e *UnknownCAError) Hint() string {
	names := make([]string, len(Presets))
	for i, p := range Presets {
		names[i] = p.Name
	}
	return "give https://… or one of " + strings.Join(names, ", ")
}

// DirectoryURL returns the directory of a preset, or the URL itself. A URL that is not HTTPS is refused, except on the loopback
// interface.
func DirectoryURL(presetOrURL string) (string, error) {
	for _, p := range Presets {
		if strings.EqualFold(p.Name, presetOrURL) {
			return p.Directory, nil
		}
	}
	if !strings.Contains(presetOrURL, "://") {
		return "", &UnknownCAError{Name: presetOrURL}
	}
	if err := checkURL(presetOrURL); err != nil {
		return "", fmt.Errorf("CA directory: %w", err)
	}
	return presetOrURL, nil
}
