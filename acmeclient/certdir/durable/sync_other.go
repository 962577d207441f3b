//go:build !unix

package durable

import "os"

// SyncDir does nothing: these systems cannot flush a folder.
func SyncDir(string) error { return nil }

const noFollow = 0

// InheritOwner does nothing: files belong to who makes them.
func InheritOwner(*os.File, ...string) {}
