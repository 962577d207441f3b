//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cnamed/test/program"
)

// profiler is a file that is added to package main of cnamed when this program
// builds it with -profile, by go build -overlay. So what is profiled is the real
// server, and what is released has neither a port nor a signal for it.
//
//go:embed profiler.go.txt
var profiler []byte

// profileVariable tells the profiler where to write.
const profileVariable = "CNAMED_BENCH_PROFILE"

// buildCnamed builds the server, with the profiler in it if there is a folder
// for profiles.
func buildCnamed(ctx context.Context, folder, profiles string) (string, error) {
	if profiles == "" {
		return program.Build(ctx, folder)
	}
	root, err := program.Source(ctx)
	if err != nil {
		return "", err
	}
	source, overlay := filepath.Join(folder, "profiler.go"), filepath.Join(folder, "overlay.json")
	place := filepath.Join(root, "cmd/cnamed/profiler.go")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{place: source}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.MkdirAll(profiles, 0o755), os.WriteFile(source, profiler, 0o600), os.WriteFile(overlay, text, 0o600)); err != nil {
		return "", err
	}
	binary := filepath.Join(folder, "cnamed")
	out, err := exec.CommandContext(ctx, "go", "build", "-C", root, "-overlay", overlay,
		"-o", binary, "cnamed/cmd/cnamed").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building cnamed with the profiler: %w\n%s", err, out)
	}
	return binary, nil
}

// profile keeps a CPU profile of the server during run, in a file of the folder
// of profiles, and says how to read it. It is for runs of their own: it costs the
// server about 1 %.
func (t *target) profile(ctx context.Context, folder, name string, run func() error) error {
	file := filepath.Join(folder, name+".pprof")
	if err := t.writeProfile(ctx, file, run); err != nil {
		return err
	}
	progress("profile: go tool pprof -top %s", file)
	return nil
}

func (t *target) writeProfile(ctx context.Context, file string, run func() error) error {
	if err := os.Remove(t.profiled); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syscall.Kill(t.pid, syscall.SIGUSR1); err != nil {
		return err
	}
	runErr := run()
	if err := errors.Join(runErr, syscall.Kill(t.pid, syscall.SIGUSR2)); err != nil {
		return err
	}
	for {
		text, err := os.ReadFile(t.profiled)
		if err == nil {
			return os.WriteFile(file, text, 0o644)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the profile: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// profileEntries keeps profiles of cnamed at the rate and at saturation, after
// the rounds.
func profileEntries(ctx context.Context, s settings, entries []*entry) error {
	if s.profile == "" {
		return nil
	}
	for _, e := range entries {
		if e.name != "cnamed" {
			continue
		}
		l := load{server: e.addr, queries: e.queries}
		name := strings.ReplaceAll(fmt.Sprint(e.label, "-", e.names), " ", "-")
		loads := map[string]func() (result, error){
			"rate":       func() (result, error) { return l.steady(ctx, s.rate, s.duration) },
			"saturation": func() (result, error) { return l.flood(ctx, s.duration) },
		}
		for kind, run := range loads {
			err := e.profile(ctx, s.profile, name+"-"+kind, func() error { _, err := run(); return err })
			if err != nil {
				return fmt.Errorf("profile of %s: %w", e.label, err)
			}
		}
	}
	return nil
}
