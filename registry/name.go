package registry

import "context"

// chosenName returns a name that somebody wants as it would be kept.
func chosenName(s string) (string, error) {
	if !validLabel(s) {
		return "", ErrSubdomain
	}
	lower := lowerASCII(s)
	if isDrawn(lower) {
		return "", ErrReserved
	}
	return lower, nil
}

// isDrawn reports whether a name has the form of those that the server draws.
func isDrawn(lower string) bool {
	_, isUUID := parseCanonical([]byte(lower))
	return isUUID
}

// isGiven reports whether a name was given before to an account that is gone, or
// to another in the same batch, of which the index does not know yet. A store that
// is not Shared does not look at names.
func (b *batch) isGiven(lower string) bool {
	_, given := b.chosen[lower]
	return given || b.index.isRetired(lower)
}

// isRetired is for the leader of the queue, and a name in lower case.
func (x *index) isRetired(lower string) bool {
	_, ok := x.retired[lower]
	return ok
}

// ReleaseName lets the chosen name of a deleted account be chosen again. Error:
// ErrNotFound if there is no such name, and those of a write.
func (r *Registry) ReleaseName(ctx context.Context, name string) error {
	name = lowerASCII(name)
	return r.queue.do(ctx, func(b *batch) error {
		if !b.index.isRetired(name) {
			return ErrNotFound
		}
		b.add(ReleaseName{Name: name})
		return nil
	})
}
