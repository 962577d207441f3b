package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

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

// parsePlan reads the plan of the certificate name. A key that it does not know
// is from a newer version, and to drop it would renew something else than was
// issued; so would a plan that is not whole.
func parsePlan(name string, data []byte) (plan, error) {
	var p plan
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&p)
	switch {
	case err != nil:
	case p.Name != name:
		err = fmt.Errorf("it is the plan of %s", quote(p.Name))
	case len(p.Names) == 0 || p.Server == "" || p.CA == "" || p.KeyType == "":
		err = errors.New("names, server, ca or key_type is missing")
	}
	if err != nil {
		return p, withHint(fmt.Errorf("reading renewal.json: %w", err), "issue the certificate once more with cnamed issue")
	}
	return p, nil
}

// filesOf returns the files of a certificate, and what its renewal has to know.
func filesOf(c *acmeclient.Certificate, renewal any) (certdir.Files, error) {
	key, err := acmeclient.MarshalKey(c.Key)
	if err != nil {
		return certdir.Files{}, err
	}
	f := certdir.Files{Cert: c.LeafPEM(), Chain: c.ChainPEM(), FullChain: c.FullChainPEM(), PrivKey: key}
	f.Renewal, err = json.MarshalIndent(renewal, "", "  ")
	return f, err
}
