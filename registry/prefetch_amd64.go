package registry

import "unsafe"

const canPrefetch = true

// prefetch has the processor bring the line of the cache that p points into, and
// does not wait for it. Go has no other way to say so: a load whose value nobody
// wants still has to end before what comes behind it can.
//
//go:noescape
func prefetch(p unsafe.Pointer)
