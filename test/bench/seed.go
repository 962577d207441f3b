//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"

	"cnamed/registry"
	"cnamed/registry/sqlite"
)

const origin = "auth.example.org"

// seed makes a database with n registrations in the data folder of a server,
// each with its two values, and returns the subdomains.
func seed(ctx context.Context, folder string, n int) ([]string, error) {
	store, err := sqlite.Open(ctx, filepath.Join(folder, "cnamed.db"), sqlite.Options{})
	if err != nil {
		return nil, err
	}
	reg, err := registry.Open(ctx, store, registry.Options{})
	if err != nil {
		return nil, err
	}
	names := make([]string, n)
	errs := make(chan error, 1)
	var group sync.WaitGroup
	const workers = 512
	for w := range workers {
		group.Go(func() {
			for i := w; i < n; i += workers {
				name, err := seedOne(ctx, reg, i)
				if err != nil {
					select {
					case errs <- err:
					default:
					}
					return
				}
				names[i] = name
			}
		})
	}
	group.Wait()
	if err := reg.Close(); err != nil {
		return nil, err
	}
	select {
	case err := <-errs:
		return nil, err
	default:
		return names, nil
	}
}

func seedOne(ctx context.Context, reg *registry.Registry, i int) (string, error) {
	c, err := reg.Register(ctx, nil)
	if err != nil {
		return "", err
	}
	for _, v := range challengeValues(i) {
		err := reg.Update(ctx, registry.Update{
			Username: c.Username.String(), Password: c.Password.Reveal(),
			Source: netip.MustParseAddr("127.0.0.1"), Subdomain: c.Subdomain, TXT: v,
		})
		if err != nil {
			return "", err
		}
	}
	return c.Subdomain, nil
}

// challengeValues are the values of name number i: the same for every server.
func challengeValues(i int) [2]string {
	return [2]string{fmt.Sprintf("first_value_of_name_%023d", i), fmt.Sprintf("other_value_of_name_%023d", i)}
}

// zoneText is the zone that cnamed serves, for the peers that read files.
func zoneText(names []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN %s.\n$TTL 1\n", origin)
	fmt.Fprintf(&b, "@ 3600 SOA %s. hostmaster.%s. 1 3600 600 86400 1\n@ 3600 NS %s.\n@ 3600 A 127.0.0.1\n", origin, origin, origin)
	for i, name := range names {
		for _, v := range challengeValues(i) {
			fmt.Fprintf(&b, "%s TXT %q\n", name, v)
		}
	}
	return b.String()
}
