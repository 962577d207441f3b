package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// DataFolder returns the platform's place for data that a program keeps: the
// StateDirectory that systemd gives, /var/lib/cnamed for root, and the user's
// own place for everybody else.
func DataFolder() string {
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return dir
	}
	switch {
	case runtime.GOOS == "windows":
		if dir := os.Getenv("ProgramData"); dir != "" {
			return filepath.Join(dir, "cnamed")
		}
	case os.Geteuid() == 0:
		return "/var/lib/cnamed"
	case runtime.GOOS == "darwin":
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, "Library", "Application Support", "cnamed")
		}
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cnamed")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "cnamed")
	}
	return "cnamed-data"
}
