//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
	"cnamed/registry/sqlite"
)

const origin = "auth.example.org"

// seed makes a database with n registrations in the data folder of a server,
// each with its two values, and returns the subdomains. They are imported, as
// those of another server are. The names are the same in every run.
func seed(ctx context.Context, folder string, n int) (names []string, err error) {
	store, err := sqlite.Open(ctx, filepath.Join(folder, "cnamed.db"), sqlite.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	usernames, subdomains := sortedUUIDs(n, 3), sortedUUIDs(n, 4)
	now := time.Now().Truncate(time.Second)
	_, err = store.Import(ctx, registry.Import{Entries: func(yield func(*registry.Entry, error) bool) {
		for i, username := range usernames {
			names = append(names, subdomains[i].String())
			entry := registry.Entry{Account: registry.Account{
				Username: username, Subdomain: names[i], Created: now,
				PasswordHash: registry.HashPassword(seedPassword(i)),
			}}
			for _, v := range challengeValues(i) {
				entry.Values = append(entry.Values, registry.Value{TXT: v, At: now})
			}
			if !yield(&entry, nil) {
				return
			}
		}
	}})
	return names, err
}

// sortedUUIDs are n random ones. In this order, which is that of the tables and
// indices, each page of the database is written once.
func sortedUUIDs(n int, seed uint64) []uuid.UUID {
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	all := make([]uuid.UUID, n)
	for i := range all {
		all[i] = randomUUID(random)
	}
	slices.SortFunc(all, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return all
}

// seedAccounts are the credentials of the accounts that seed makes.
func seedAccounts(n int) []account {
	usernames, subdomains := sortedUUIDs(n, 3), sortedUUIDs(n, 4)
	all := make([]account, n)
	for i := range all {
		all[i] = account{Username: usernames[i].String(), Password: seedPassword(i), Subdomain: subdomains[i].String()}
	}
	return all
}

func seedPassword(i int) string { return fmt.Sprintf("password_of_account_%020d", i) }

// challengeValues are the values of name number i: the same for every server.
func challengeValues(i int) [2]string {
	return [2]string{fmt.Sprintf("first_value_of_name_%023d", i), fmt.Sprintf("other_value_of_name_%023d", i)}
}

// writeZone writes the zone that cnamed serves, for the peers that read files.
func writeZone(path string, names []string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(f)
	fmt.Fprintf(b, "$ORIGIN %s.\n$TTL 1\n", origin)
	fmt.Fprintf(b, "@ 3600 SOA %s. hostmaster.%s. 1 3600 600 86400 1\n@ 3600 NS %s.\n@ 3600 A 127.0.0.1\n", origin, origin, origin)
	for i, name := range names {
		for _, v := range challengeValues(i) {
			fmt.Fprintf(b, "%s TXT %q\n", name, v)
		}
	}
	return errors.Join(b.Flush(), f.Close())
}
