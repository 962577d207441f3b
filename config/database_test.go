package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestDatabaseKeepsItsPassword(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	for _, url := range []string{"postgres://cnamed:" + secret + "@db.example/cnamed", "postgresql://db.example/cnamed?password=" + secret} {
		c, err := Load("", map[string]Override{"database": {Values: []string{url}, From: "--database"},
			"domain": {Values: []string{"auth.example.org"}}, "ip": {Values: []string{"203.0.113.5"}}})
		if err != nil {
			t.Fatal(err)
		}
		if c.Database.Reveal() != url {
			t.Errorf("Reveal: %q", c.Database.Reveal())
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "database", c.Database, "config", c)
		text, _ := json.Marshal(c)
		for _, out := range []string{log.String(), string(text), fmt.Sprintf("%v %+v %#v %d %s", c.Database, *c, c.Database, c.Database, c.Database)} {
			if strings.Contains(out, secret) || !strings.Contains(out, "db.example") {
				t.Errorf("it shows: %s", out)
			}
		}
	}
	for _, wrong := range []string{"mysql://a:" + secret + "@b", "cnamed.db", "postgres://a:" + secret + "@[b"} {
		_, err := Load("", map[string]Override{"database": {Values: []string{wrong}, From: "--database"}})
		if err == nil || !strings.Contains(err.Error(), "database") || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
