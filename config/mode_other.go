//go:build !unix

package config

import "io/fs"

// othersMay: the permissions of this platform are not in the mode.
func othersMay(fs.FileInfo) bool { return false }
