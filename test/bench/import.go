//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
	_ "modernc.org/sqlite" // the driver

	"cnamed/test/program"
)

// benchImport writes a database as acme-dns has it and imports it with the real
// binary, twice: the second time everything is there. Beside them is what it
// takes to write as many bytes as the new database has, durably.
func benchImport(ctx context.Context, s settings) error {
	folder, err := os.MkdirTemp("", "cnamed-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	binary, err := program.Build(ctx, folder)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// By another process: the peak that the kernel tells of a child is at
	// least what its parent had when it was started.
	writer := exec.CommandContext(ctx, self, "old-database", "-large", strconv.Itoa(s.large))
	writer.Dir, writer.Stderr = folder, os.Stderr
	if err := writer.Run(); err != nil {
		return fmt.Errorf("writing %d accounts of acme-dns: %w", s.large, err)
	}
	fmt.Printf("%-24s %10s %10s %10s %12s %12s\n", "", "accounts", "seconds", "CPU", "peak", "database")
	for _, name := range []string{"first import", "again, nothing new"} {
		if err := runImport(ctx, name, binary, folder, s.large); err != nil {
			return err
		}
	}
	return writeAsMuch(filepath.Join(folder, "data", "cnamed.db"))
}

func runImport(ctx context.Context, name, binary, folder string, n int) error {
	cmd := exec.CommandContext(ctx, binary, "import", "acme-dns", "--json", "--config", filepath.Join(folder, "config.cfg"),
		"--data", filepath.Join(folder, "data"), "--output", filepath.Join(folder, "cnamed.toml"))
	var out bytes.Buffer
	var talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, talk.String())
	}
	took := time.Since(began)
	var result struct {
		Added   int
		Present int `json:"already_present"`
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		return err
	}
	if result.Added+result.Present != n {
		return fmt.Errorf("%s: %+v of %d accounts", name, result, n)
	}
	info, err := os.Stat(filepath.Join(folder, "data", "cnamed.db"))
	if err != nil {
		return err
	}
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	fmt.Printf("%-24s %10d %10.1f %10.1f %9d MB %9d MB\n", name, n, took.Seconds(), cpu.Seconds(), peak>>20, info.Size()>>20)
	return nil
}

// writeAsMuch copies a file and flushes the copy.
func writeAsMuch(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	began := time.Now()
	f, err := os.Create(path + ".copy")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	fmt.Printf("%-24s %10s %10.1f %10s %12s %9d MB\n", "a plain copy", "", time.Since(began).Seconds(), "", "", len(data)>>20)
	return nil
}

// oldDatabase writes a configuration and a database of acme-dns into the folder
// that it runs in, with accounts in the order in which they might have been
// registered.
func oldDatabase(ctx context.Context, s settings) error {
	config := "[general]\ndomain = \"" + origin + "\"\nrecords = [\"" + origin + ". A 127.0.0.1\"]\n" +
		"[database]\nengine = \"sqlite\"\nconnection = \"acme-dns.db\"\n[api]\ntls = \"none\"\nport = \"8053\"\n"
	if err := os.WriteFile("config.cfg", []byte(config), 0o600); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:acme-dns.db?_pragma=cache_size(-400000)&_pragma=synchronous(0)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `
		CREATE TABLE acmedns (Name TEXT, Value TEXT);
		INSERT INTO acmedns VALUES ('db_version', '1');
		CREATE TABLE records (Username TEXT UNIQUE NOT NULL PRIMARY KEY, Password TEXT UNIQUE NOT NULL,
			Subdomain TEXT UNIQUE NOT NULL, AllowFrom TEXT);
		CREATE TABLE txt (Subdomain TEXT NOT NULL, Value TEXT NOT NULL DEFAULT '', LastUpdate INT);
		CREATE INDEX idx_txt_subdomain ON txt (Subdomain)`)
	if err == nil {
		err = fillAcmeDNS(ctx, db, s.large)
	}
	return errors.Join(err, db.Close())
}

func fillAcmeDNS(ctx context.Context, db *sql.DB, n int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	record, err := tx.PrepareContext(ctx, `INSERT INTO records VALUES (?, ?, ?, '[]')`)
	if err != nil {
		return err
	}
	txt, err := tx.PrepareContext(ctx, `INSERT INTO txt VALUES (?, ?, ?), (?, ?, ?)`)
	if err != nil {
		return err
	}
	for i := range n {
		subdomain, values := uuid.NewString(), challengeValues(i)
		if _, err := record.ExecContext(ctx, uuid.NewString(), bcryptLookalike(), subdomain); err != nil {
			return err
		}
		if _, err := txt.ExecContext(ctx, subdomain, values[0], 1_700_000_000+i, subdomain, values[1], 1_700_000_000+i); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// bcryptLookalike has the form of a hash. To make a million would take a day.
func bcryptLookalike() []byte {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	hash := append(make([]byte, 0, 60), "$2a$10$"...)
	for len(hash) < cap(hash) {
		hash = append(hash, alphabet[rand.IntN(len(alphabet))])
	}
	return hash
}
