//go:build !unix

package certdir

func isFull(error) bool     { return false }
func isReadOnly(error) bool { return false }
