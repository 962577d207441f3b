package dnsserver_test

import (
	"os"
	"os/exec"
	"testing"
)

// TestAllWithoutBatches: every test also holds where UDP is read as on systems without recvmmsg(2), see serve.
func TestAllWithoutBatches(t *testing.T) {
	if os.Getenv("CNAMED_TEST_PLAIN_UDP") != "" {
		return
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.timeout=2m")
	cmd.Env = append(os.Environ(), "CNAMED_TEST_PLAIN_UDP=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
