package acmeclient

import (
	"errors"
	"strings"
	"testing"
)

func TestDirectoryURL(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"letsencrypt":                "https://acme-v02.api.letsencrypt.org/directory",
		"LetsEncrypt-Staging":        "https://acme-staging-v02.api.letsencrypt.org/directory",
		"https://ca.corp.example/d":  "https://ca.corp.example/d",
		"http://127.0.0.1:14000/dir": "http://127.0.0.1:14000/dir",
	} {
		if got, err := DirectoryURL(given); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", given, got, err, want)
		}
	}
	if _, err := DirectoryURL("http://ca.corp.example/d"); err == nil {
		t.Error("a CA in the clear was accepted")
	}
	_, err := DirectoryURL("letsencript")
	var unknown *UnknownCAError
	if !errors.As(err, &unknown) {
		t.Fatalf("error %v", err)
	}
	for _, preset := range Presets {
		if !strings.Contains(unknown.Hint(), preset.Name) {
			t.Errorf("hint lacks %s: %s", preset.Name, unknown.Hint())
		}
		if err := checkURL(preset.Directory); err != nil {
			t.Errorf("%s: %v", preset.Name, err)
		}
	}
}
