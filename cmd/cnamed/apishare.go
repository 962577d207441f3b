package main

import (
	"context"
	"encoding/json"
	"fmt"

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
	store certificateStore
	name  string // of the secret
	seen  string // what is on the disk
}

func newSharedCertificate(store certificateStore, domain string) *sharedCertificate {
	return &sharedCertificate{store: store, name: "certificate of " + domain}
}

// fetch returns the files of the other servers, or nil where they have none that
// this one does not have.
func (s *sharedCertificate) fetch(ctx context.Context) (*certdir.Files, error) {
	text, err := s.store.LoadSecret(ctx, s.name)
	if err != nil || text == nil || string(text) == s.seen {
		return nil, err
	}
	files := new(certdir.Files)
	if err := json.Unmarshal(text, files); err != nil {
		return nil, fmt.Errorf("the certificate in the database: %w", err)
	}
	s.seen = string(text)
	return files, nil
}

// offer gives files to the others.
func (s *sharedCertificate) offer(ctx context.Context, files certdir.Files) error {
	text, err := json.Marshal(files)
	if err != nil {
		return err
	}
	if err := s.store.StoreSecret(ctx, s.name, text); err != nil {
		return err
	}
	s.seen = string(text)
	return nil
}
