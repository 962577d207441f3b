package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"time"

	"cnamed/acmeclient"
	"cnamed/acmeclient/certdir"
)

// certificateStore is what several servers share a certificate by. The PostgreSQL
// store is one.
type certificateStore interface {
	LoadSecret(ctx context.Context, name string) ([]byte, error)
	StoreSecret(ctx context.Context, name string, value []byte) error
	// Alone calls f while no other server is in a call with the same name.
	Alone(ctx context.Context, name string, f func(context.Context) error) error
}

// sharedCertificate is the API's certificate of several servers: the one that
// finds it due obtains it, and the others take it over. Each has a copy on its
// disk, with which it starts.
type sharedCertificate struct {
	store  certificateStore
	name   string // of the secret
	seen   string // what was in the database when agree had last nothing left to do
	unsent bool   // an offer failed
}

func newSharedCertificate(store certificateStore, domain string) *sharedCertificate {
	return &sharedCertificate{store: store, name: "certificate of " + domain}
}

// offer gives files to the others. Where that fails, agree does it later.
func (s *sharedCertificate) offer(ctx context.Context, files certdir.Files) error {
	s.unsent = true
	text, err := json.Marshal(files)
	if err != nil {
		return err
	}
	if err := s.store.StoreSecret(ctx, s.name, text); err != nil {
		return err
	}
	s.seen, s.unsent = string(text), false
	return nil
}

// apiCertificate is a certificate of the API, and its files.
type apiCertificate struct {
	files   certdir.Files
	pair    tls.Certificate
	foreign bool // from another CA than is configured
}

// read makes a certificate of files. Its key must be there, and the right one, and
// it must be for our domain. It can have expired.
func (a *acmeCertificates) read(files certdir.Files) (*apiCertificate, error) {
	pair, err := tls.X509KeyPair(files.FullChain, files.PrivKey)
	if err != nil {
		return nil, err
	}
	if err := pair.Leaf.VerifyHostname(a.config.Domain); err != nil {
		return nil, err
	}
	directory, err := acmeclient.DirectoryURL(a.config.ACME.CA)
	if err != nil {
		return nil, err
	}
	var from origin
	err = json.Unmarshal(files.Renewal, &from)
	return &apiCertificate{files: files, pair: pair, foreign: err != nil || from.CA != directory}, nil
}

// expired says whether there is a certificate that clients refuse by now.
func (c *apiCertificate) expired() bool { return c != nil && time.Now().After(c.pair.Leaf.NotAfter) }

// better says whether c is to be used rather than another: who has not expired, then
// who is of the configured CA, and then who is newer. Both can be nil.
func (c *apiCertificate) better(other *apiCertificate) bool {
	switch {
	case c == nil || other == nil:
		return c != nil
	case c.expired() != other.expired():
		return other.expired()
	case c.foreign != other.foreign:
		return other.foreign
	}
	return c.pair.Leaf.NotBefore.After(other.pair.Leaf.NotBefore)
}

// readShared makes a certificate of what is in the database.
func (a *acmeCertificates) readShared(text []byte) (*apiCertificate, error) {
	var files certdir.Files
	if err := json.Unmarshal(text, &files); err != nil {
		return nil, err
	}
	return a.read(files)
}

// agree brings this server and the database to one certificate, the better one, and
// reports whether it was taken over from there. What fails is tried again by the
// next call. What cannot be used is as if it were not in the database.
//
// Servers whose settings name two CAs, as while these are changed, keep what is of
// their own: if each took over the other's they would order again and again.
func (a *acmeCertificates) agree(ctx context.Context) (took bool, err error) {
	text, err := a.shared.store.LoadSecret(ctx, a.shared.name)
	if err != nil {
		return false, err
	}
	seen := text != nil && string(text) == a.shared.seen
	if seen && !a.shared.unsent && !a.serving.expired() {
		return false, nil
	}
	var theirs *apiCertificate
	if text != nil {
		theirs, err = a.readShared(text)
		if err != nil && !seen {
			a.log.Warn("the API's certificate in the database cannot be used", "name", a.config.Domain, "err", err,
				"hint", "nothing is to be done: the next good one of a server replaces it")
		}
	}
	ours := a.serving
	switch {
	case ours != nil && theirs != nil && ours.pair.Leaf.Equal(theirs.pair.Leaf):
	case ours.better(theirs):
		if a.shared.unsent || !ours.foreign && !ours.expired() && (theirs == nil || !theirs.foreign) {
			return false, a.shared.offer(ctx, ours.files)
		}
	case theirs != nil:
		a.use(theirs)
		a.save()
		took = true
	}
	a.shared.seen, a.shared.unsent = string(text), false
	return took, nil
}
