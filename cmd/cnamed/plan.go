package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"cnamed/acmeclient"
	"cnamed/acmeclient/certdir"
)

// plan is what a renewal has to know to do again what `issue` did. It is kept
// beside the certificate, in renewal.json.
type plan struct {
	Name       string   `json:"name"`
	Names      []string `json:"names"`
	Server     string   `json:"server"`
	ServerRoot string   `json:"server_root,omitempty"`
	AllowHTTP  bool     `json:"allow_http,omitempty"`
	CA         string   `json:"ca"`
	CARoot     string   `json:"ca_root,omitempty"`
	Email      string   `json:"email,omitempty"`
	KeyType    string   `json:"key_type"`
	Resolvers  []string `json:"resolvers,omitempty"`
	DeployHook string   `json:"deploy_hook,omitempty"`
}

// parsePlan reads a plan of this version. A key that it does not know is from a
// newer version, and to drop it would renew something else than was issued.
func parsePlan(data []byte) (plan, error) {
	var p plan
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, withHint(fmt.Errorf("reading renewal.json: %w", err), "issue the certificate once more with cnamed issue")
	}
	return p, nil
}

// filesOf returns the files of a certificate. The plan is for those that
// `renew` renews.
func filesOf(c *acmeclient.Certificate, p *plan) (certdir.Files, error) {
	key, err := acmeclient.MarshalKey(c.Key)
	if err != nil {
		return certdir.Files{}, err
	}
	f := certdir.Files{Cert: c.LeafPEM(), Chain: c.ChainPEM(), FullChain: c.FullChainPEM(), PrivKey: key}
	if p != nil {
		f.Renewal, err = json.MarshalIndent(p, "", "  ")
	}
	return f, err
}

// runDeployHook runs the command of the plan through the shell, as certbot does
// and with its variables: RENEWED_LINEAGE is the folder of the files,
// RENEWED_DOMAINS are the names with spaces between.
func (w *workspace) runDeployHook(ctx context.Context, p plan, r issued) error {
	if p.DeployHook == "" {
		return nil
	}
	shell := []string{"/bin/sh", "-c"}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/C"}
	}
	cmd := exec.CommandContext(ctx, shell[0], shell[1], p.DeployHook)
	cmd.Env = append(os.Environ(),
		"RENEWED_LINEAGE="+filepath.Dir(r.Files.Cert),
		"RENEWED_DOMAINS="+strings.Join(r.Names, " "))
	cmd.Stdout, cmd.Stderr = w.talk, w.talk
	w.talk.say("running the deploy hook of %s", p.Name)
	if err := cmd.Run(); err != nil {
		return withHint(fmt.Errorf("the deploy hook of %s failed: %w", p.Name, err),
			"the certificate is in place; run the command by hand: "+p.DeployHook)
	}
	return nil
}
