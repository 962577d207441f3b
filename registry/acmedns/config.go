package acmedns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Config is a configuration file of acme-dns, as written. What it says may make
// no sense: acme-dns checks little of it.
type Config struct {
	// Path is the file.
	Path string `toml:"-"`

	General struct {
		Listen   string
		Protocol string // both, udp or tcp, perhaps with a 4 or 6 behind
		Domain   string
		NSName   string   // the primary name server in the SOA
		NSAdmin  string   // mailbox, with a dot for the @
		Records  []string // zone file lines, whose names are absolute
		Debug    bool
	}
	Database struct {
		Engine     string // sqlite, sqlite3 or postgres
		Connection string
	}
	API struct {
		IP                  string
		Port                any    // a string in their example
		DisableRegistration bool   `toml:"disable_registration"`
		TLS                 string // letsencrypt, letsencryptstaging, cert or none
		PrivKey             string `toml:"tls_cert_privkey"`
		FullChain           string `toml:"tls_cert_fullchain"`
		CacheDir            string `toml:"acme_cache_dir"`
		Email               string `toml:"notification_email"`
		CORSOrigins         []string
		UseHeader           bool   `toml:"use_header"`
		HeaderName          string `toml:"header_name"`
	}
	LogConfig struct {
		Level  string `toml:"loglevel"`
		Type   string `toml:"logtype"`
		File   string `toml:"logfile"`
		Format string `toml:"logformat"`
	}

	// Others are the keys that are in the file and not above, as "api.hsts_max_age".
	Others []string `toml:"-"`
}

// maxConfig bounds what is read of a configuration file, in bytes.
const maxConfig = 8 << 20

// ReadConfig reads the configuration file at path. Errors have a Hint method.
func ReadConfig(path string) (*Config, error) {
	const remedy = "name the configuration of acme-dns with --config FILE"
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{fmt.Errorf("reading the configuration of acme-dns: %w", err), remedy}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return nil, &Error{fmt.Errorf("reading the configuration of acme-dns: %w", err), remedy}
	}
	c := &Config{Path: path}
	var all map[string]any
	if err := errors.Join(toml.Unmarshal(data, c), toml.Unmarshal(data, &all)); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			err = fmt.Errorf("%s:%d:%d: %s", path, line, column, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return nil, &Error{err, "is it a configuration that acme-dns starts with?"}
	}
	c.Others = others(all)
	if c.General.Domain == "" {
		return nil, &Error{fmt.Errorf("%s: domain in [general] is not set", path), remedy}
	}
	return c, nil
}

// known are the keys that Config has.
var known = map[string][]string{
	"general":  {"listen", "protocol", "domain", "nsname", "nsadmin", "records", "debug"},
	"database": {"engine", "connection"},
	"api": {"ip", "port", "disable_registration", "tls", "tls_cert_privkey", "tls_cert_fullchain", "acme_cache_dir",
		"notification_email", "corsorigins", "use_header", "header_name"},
	"logconfig": {"loglevel", "logtype", "logfile", "logformat"},
}

func others(all map[string]any) (keys []string) {
	for name, value := range all {
		table, ok := value.(map[string]any)
		if !ok {
			keys = append(keys, name)
			continue
		}
		for key := range table {
			if !slices.Contains(known[strings.ToLower(name)], strings.ToLower(key)) {
				keys = append(keys, name+"."+key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}
