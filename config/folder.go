package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// DataFolder returns the platform's place for the data of the server: the
// StateDirectory that systemd gives, /var/lib/cnamed for root, and the user's
// own place for everybody else.
func DataFolder() string { return folder("cnamed") }

// ClientFolder returns the platform's place for the certificates and the
// credentials of the client. It is not that of the server: what the user of a
// server that faces the network owns must neither hold the keys of others nor
// tell root what to run.
func ClientFolder() string { return folder("cnamed-client") }

func folder(name string) string {
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return dir
	}
	switch {
	case runtime.GOOS == "windows":
		if dir := os.Getenv("ProgramData"); dir != "" {
			return filepath.Join(dir, name)
		}
	case os.Geteuid() == 0:
		return "/var/lib/" + name
	case runtime.GOOS == "darwin":
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, "Library", "Application Support", name)
		}
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, name)
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", name)
	}
	return name
}
