//go:build !amd64

package registry

import "unsafe"

const canPrefetch = false

func prefetch(unsafe.Pointer) {}
