// Package program runs the real cnamed for tests, benchmarks and the sandbox:
// it builds the binary, starts it, waits for the line with which it says that
// it serves, and ends it. It ends only what it started.
package program

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Build compiles cnamed into folder and returns the path of the binary. It has
// the race detector in it where the caller has, and is not optimized by the
// profile then. Its dependencies have the versions of cnamed's own go.mod, also
// where the caller is of another module.
func Build(ctx context.Context, folder string) (string, error) {
	root, err := Source(ctx)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(folder, "cnamed")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	args := []string{"build", "-C", root, "-o", binary}
	if raceEnabled {
		args = append(args, "-race", "-pgo=off")
	}
	out, err := exec.CommandContext(ctx, "go", append(args, "cnamed/cmd/cnamed")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building cnamed: %w\n%s", err, out)
	}
	return binary, nil
}

// Source returns the folder of cnamed's module.
func Source(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "cnamed").Output()
	if err != nil {
		return "", fmt.Errorf("finding the source of cnamed: %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}
