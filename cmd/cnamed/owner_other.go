//go:build !unix

package main

import "io/fs"

// ownedByRoot is not asked where there is no root.
func ownedByRoot(fs.FileInfo) bool { return false }
