package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"cnamed/acmeclient/certdir"
	"cnamed/acmeclient/certdir/durable"
)

// hookPatience is how long a hook may keep its output open after it has ended, or
// after it was asked to end: what it left in the background must not hold up
// the renewals to come.
const hookPatience = 5 * time.Second

// A deploy hook is owed from before its certificate is in place until it has
// succeeded, over crashes and failures: who renews next runs it.

func (w *workspace) owedFile(name string) string { return filepath.Join(w.folder, "hooks-owed", name) }

func (w *workspace) oweHook(p plan) error {
	if p.DeployHook == "" {
		return nil
	}
	file := w.owedFile(p.Name)
	if err := durable.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(file, nil, 0o600)
}

func (w *workspace) owesHook(name string) bool {
	_, err := os.Stat(w.owedFile(name))
	return err == nil
}

// runDeployHook runs the command of the plan through the shell, as certbot does
// and with its variables: RENEWED_LINEAGE is the folder of the files,
// RENEWED_DOMAINS are the names with spaces between.
func (w *workspace) runDeployHook(ctx context.Context, p plan, names []string, files certdir.Paths) error {
	if p.DeployHook == "" {
		return nil
	}
	shell := []string{"/bin/sh", "-c"}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/C"}
	}
	cmd := exec.CommandContext(ctx, shell[0], shell[1], p.DeployHook)
	cmd.Env = append(os.Environ(),
		"RENEWED_LINEAGE="+filepath.Dir(files.Cert),
		"RENEWED_DOMAINS="+strings.Join(names, " "))
	cmd.Stdout, cmd.Stderr = w.talk, w.talk
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = hookPatience
	w.talk.say("running the deploy hook of %s", p.Name)
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return withHint(fmt.Errorf("the deploy hook of %s failed: %w", p.Name, err),
			"the certificate is in place; cnamed renew runs the hook again, or run it by hand: "+p.DeployHook)
	}
	if err := os.Remove(w.owedFile(p.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mayRunHooks refuses to run, as root, commands from a folder that somebody else
// can write: they would be root's.
func (w *workspace) mayRunHooks(p plan, files certdir.Paths) error {
	if p.DeployHook == "" || os.Geteuid() != 0 {
		return nil
	}
	for _, path := range []string{w.folder, files.Renewal} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !ownedByRoot(info) || info.Mode().Perm()&0o022 != 0 {
			return withHint(fmt.Errorf("the deploy hook of %s is not run: others than root can write %s", p.Name, path),
				"give the folder to root (chown -R root, chmod -R go-w), or run cnamed renew as the folder's owner")
		}
	}
	return nil
}
