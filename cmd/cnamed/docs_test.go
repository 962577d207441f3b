package main

import (
	"os"
	"regexp"
	"testing"

	"cnamed/config"
)

// TestHookReadsWhatRegisterWrites: the hook, and the lines to copy in the
// documentation, name the file that `cnamed register` writes as root.
func TestHookReadsWhatRegisterWrites(t *testing.T) {
	const want = "/var/lib/cnamed-client/delegations.json"
	if os.Geteuid() == 0 && os.Getenv("STATE_DIRECTORY") == "" && config.ClientFolder()+"/delegations.json" != want {
		t.Errorf("cnamed register writes below %s", config.ClientFolder())
	}
	paths := regexp.MustCompile(`/[\w/.-]*/delegations\.json`)
	for _, file := range []string{"dist/hooks/cnamed-hook", "docs/clients.md", "../../README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := paths.FindAllString(string(text), -1)
		if len(found) == 0 && file != "../../README.md" {
			t.Errorf("%s names no file", file)
		}
		for _, path := range found {
			if path != want {
				t.Errorf("%s names %s, want %s", file, path, want)
			}
		}
	}
}
