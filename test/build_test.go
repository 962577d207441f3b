//go:build !race

package test

import (
	"debug/buildinfo"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
)

// TestBinaryIsOptimizedByTheProfile: who builds cnamed gets what is measured.
func TestBinaryIsOptimizedByTheProfile(t *testing.T) {
	t.Parallel()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	byProfile := func(s debug.BuildSetting) bool { return s.Key == "-pgo" && filepath.Base(s.Value) == "default.pgo" }
	if !slices.ContainsFunc(info.Settings, byProfile) {
		t.Errorf("not built by cmd/cnamed/default.pgo, see \"go run ./test/bench pgo\": %v", info.Settings)
	}
}
