//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"cnamed/test/program"
)

// profileGuide makes cmd/cnamed/default.pgo, by which the go command optimizes
// cnamed wherever it is built (go.dev/doc/pgo): profiles of what a server does at
// most, queries at saturation and changes over the API. Nobody else should use the
// machine. A profile that is older than the code is only less use.
func profileGuide(ctx context.Context, s settings) error {
	root, err := program.Source(ctx)
	if err != nil {
		return err
	}
	// The profile goes with the source, and does not say where that is.
	if err := os.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -trimpath"); err != nil {
		return err
	}
	guide := filepath.Join(root, "cmd/cnamed/default.pgo")
	folder, err := os.MkdirTemp("", "cnamed-profiles-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	s.targets, s.profile = []string{"cnamed"}, folder
	if err := withField(ctx, s, func(f *field) error { return f.profileAll(ctx) }); err != nil {
		return err
	}
	profiles, err := filepath.Glob(filepath.Join(folder, "*.pprof"))
	if err != nil {
		return err
	}
	merge := append([]string{"tool", "pprof", "-proto", "-output", guide}, profiles...)
	if out, err := exec.CommandContext(ctx, "go", merge...).CombinedOutput(); err != nil {
		return fmt.Errorf("merging the profiles: %w\n%s", err, out)
	}
	progress("written: %s", guide)
	return nil
}

// profileAll keeps a profile of each kind of load.
func (f *field) profileAll(ctx context.Context) error {
	names, targets, err := f.start(ctx, f.names)
	if err != nil {
		return err
	}
	t := targets[0]
	plain, plainErr := plainCorpus(names)
	mix, mixErr := mixCorpus(names)
	if err := errors.Join(plainErr, mixErr); err != nil {
		return err
	}
	flood := func(queries *corpus) func() error {
		return func() error { _, err := load{server: t.addr, queries: queries}.flood(ctx, f.duration); return err }
	}
	change := func(registers bool) func() error {
		l := apiLoad{url: t.api, registers: registers, accounts: seedAccounts(f.names), clients: f.clients}
		return func() error { _, err := l.run(ctx, f.duration); return err }
	}
	for _, kind := range []struct {
		name string
		run  func() error
	}{
		{"plain", flood(plain)}, {"mix", flood(mix)}, {"updates", change(false)}, {"registrations", change(true)},
	} {
		progress("profiling %s for %v", kind.name, f.duration)
		if err := t.writeProfile(ctx, filepath.Join(f.profile, kind.name+".pprof"), kind.run); err != nil {
			return fmt.Errorf("profile of %s: %w", kind.name, err)
		}
	}
	return nil
}
