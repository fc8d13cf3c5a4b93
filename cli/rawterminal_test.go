package cli_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/cli"
)

// Bytes as an endpoint wrote them could control a terminal: none are written to one.
func TestNoRawBytesToATerminal(t *testing.T) {
	t.Parallel()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	for _, command := range []string{"logs worker/a -e web1 --raw", "dead-letters show 7 --body"} {
		var stderr bytes.Buffer
		code := cli.Execute(t.Context(), cli.Program{
			Args: strings.Fields(command), Environ: []string{"TASKER_API_URL=http://127.0.0.1:1"}, Stdout: terminal, Stderr: &stderr,
		})
		if code != cli.ExitUsage || !strings.Contains(stderr.String(), "could control the terminal: redirect") {
			t.Errorf("%s: exit code %d: %s", command, code, &stderr)
		}
	}
}
