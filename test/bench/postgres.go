//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"cnamed/test/postgres"
	"cnamed/test/program"
)

const benchNodes = 3

// benchPostgres measures three servers on one PostgreSQL, which flushes every
// commit, with the barrier; and how long one more takes to load many accounts.
func benchPostgres(ctx context.Context, s settings) error {
	if postgres.Binaries() == "" {
		return errors.New("there is no PostgreSQL")
	}
	folder, err := os.MkdirTemp("", "cnamed-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	binary, err := program.Build(ctx, folder)
	if err != nil {
		return err
	}
	database, err := postgres.Start(ctx, "fsync=on", "max_connections=60", "shared_buffers=256MB")
	if err != nil {
		return err
	}
	defer database.Close()

	var nodes []*program.Server
	for i := range benchNodes {
		node, err := startNode(ctx, binary, database, filepath.Join(folder, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		defer func() { _ = node.Stop() }()
		nodes = append(nodes, node)
	}
	fmt.Printf("%-40s %12s %10s %10s\n", "", "per second", "p50", "p99")
	for _, run := range []struct {
		name      string
		registers bool
		nodes     int
		clients   int
	}{
		{"updates on three nodes", false, 3, s.clients},
		{"updates on one of three nodes", false, 1, s.clients},
		{"registrations on three nodes", true, 3, s.clients},
		{"updates, one client", false, 1, 1},
	} {
		r, err := callNodes(ctx, nodes[:run.nodes], apiLoad{registers: run.registers, clients: run.clients}, s.duration)
		if err != nil {
			return fmt.Errorf("%s: %w", run.name, err)
		}
		fmt.Printf("%-40s %12.0f %10v %10v\n", fmt.Sprintf("%s, %d clients", run.name, run.clients), r.perSecond(),
			median(r.latencies).Round(10*time.Microsecond), quantile(r.latencies, 0.99).Round(10*time.Microsecond))
	}

	if err := fill(ctx, database, s.large); err != nil {
		return err
	}
	for i := range 3 {
		if err := joinNode(ctx, binary, database, filepath.Join(folder, fmt.Sprint("new", i)), s.large); err != nil {
			return err
		}
	}
	return nil
}

// joinNode measures the start of one more server, and ends it.
func joinNode(ctx context.Context, binary string, database *postgres.Server, data string, accounts int) error {
	began := time.Now()
	node, err := startNode(ctx, binary, database, data)
	if err != nil {
		return err
	}
	took := time.Since(began)
	defer func() { _ = node.Stop() }()
	resident, peak, err := memory(node.Pid())
	if err != nil {
		return err
	}
	cpu, err := cpuTime(node.Pid())
	if err != nil {
		return err
	}
	fmt.Printf("a new node with %d accounts serves after %v, %v of them its own on a processor; %d MB resident, peak %d MB\n",
		accounts, took.Round(time.Millisecond), cpu.Round(time.Millisecond), resident>>20, peak>>20)
	return nil
}

func startNode(ctx context.Context, binary string, database *postgres.Server, data string) (*program.Server, error) {
	return program.Start(ctx, binary, program.Options{Env: []string{"CNAMED_DATABASE=" + database.URL()}},
		"--domain", origin, "--ip", "127.0.0.1", "--data", data, "--log-level", "error",
		"--dns-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--api-tls", "none", "--api-register-limit", "off")
}

// callNodes shares the clients between the nodes.
func callNodes(ctx context.Context, nodes []*program.Server, l apiLoad, duration time.Duration) (apiResult, error) {
	var mu sync.Mutex
	var group sync.WaitGroup
	var all apiResult
	var errs []error
	for i, node := range nodes {
		share := l
		share.url, share.clients = node.API[0], (l.clients+i)/len(nodes)
		group.Go(func() {
			r, err := share.run(ctx, duration)
			mu.Lock()
			defer mu.Unlock()
			all = apiResult{append(all.latencies, r.latencies...), max(all.elapsed, r.elapsed)}
			errs = append(errs, err)
		})
	}
	group.Wait()
	return all, errors.Join(errs...)
}

// fill adds accounts with two values each, in the way of a restored backup, and
// leaves the database as it is some time later.
func fill(ctx context.Context, database *postgres.Server, n int) error {
	conn, err := pgx.Connect(ctx, database.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `
		SET search_path = cnamed;
		INSERT INTO accounts SELECT gen_random_uuid(), sha256(i::text::bytea), gen_random_uuid()::text, '{}', 1800000000, '', 0, 0
			FROM generate_series(1, `+fmt.Sprint(n)+`) i;
		INSERT INTO txt SELECT username, lpad(v::text, 43, '0'), v, 1800000000 FROM accounts, generate_series(1, 2) v
			ON CONFLICT DO NOTHING`, pgx.QueryExecModeSimpleProtocol)
	for _, rest := range []string{`VACUUM ANALYZE`, `CHECKPOINT`} {
		if err == nil {
			_, err = conn.Exec(ctx, rest)
		}
	}
	return err
}
