package world

import "os"

// Environment returns the environment in which clients that are not ours work
// in this world: they trust the HTTPS of its CA, and find no configuration of
// the person who runs the tests.
func (w *World) Environment(more ...string) []string {
	env := append(os.Environ(),
		"HOME="+w.Folder,
		"LEGO_CA_CERTIFICATES="+w.CARoot,
		"REQUESTS_CA_BUNDLE="+w.CARoot,
		"CURL_CA_BUNDLE="+w.CARoot,
	)
	return append(env, more...)
}
