package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// devTasker starts "tasker dev", and returns the variables of commands that use it.
func devTasker(t *testing.T) []string {
	t.Helper()
	port := freePort(t)
	dev := start(t, []string{fastTypes, "TMPDIR=" + t.TempDir(), "TASKER_API_WAIT_FOR_ENDPOINTS_TIMEOUT=2s"}, "dev", "--ephemeral", "--port", port)
	until(t, "tasker dev to be ready", func() bool {
		select {
		case <-dev.exited:
			t.Fatalf("tasker dev ended:\n%s", dev.output())
		default:
		}
		return strings.Contains(dev.output(), "Try it")
	})
	return []string{"TASKER_API_URL=http://127.0.0.1:" + port}
}

// TestExitCodes of the commands that run and watch tasks, from the real program.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	env := devTasker(t)
	halted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"task":{"type":"worker","identifier":"a","status":"HALTED"},"summary":{"expected":3},"groups":[],"other":[],"missing":{"count":0,"names":[]}}`)
	}))
	t.Cleanup(halted.Close)
	for _, test := range []struct {
		code int
		args string
		text string
	}{
		{0, "run worker --all --yes", "DONE: 2 ok"},
		{0, "run sleep stopped -e console1 seconds=1000 --detach", "sleep/stopped sent to 1 endpoint"},
		{0, "show sleep/stopped", "sleep/stopped"},
		{1, "watch worker/nobody", "not found"},
		{1, "run worker -e a --api http://127.0.0.1:1", "cannot reach the API"},
		{2, "run worker", "say whom: --all (2 endpoints perform worker)"},
		{2, "run worker --all", "--yes=2"},
		{2, "run sleep -e console1 seconds=-1", "seconds"},
		{3, "run backup -e console1", "could not backup!"},
		{4, "run worker -e console1,ghost", "1 missing"},
		{4, "watch sleep/stopped --wait 1ms", "has run out"},
		{5, "show worker/a --exit-status --api " + halted.URL, "HALTED"},
		{0, "cancel sleep/stopped", "sleep/stopped is CANCEL"},
		{6, "watch sleep/stopped", "CANCELED: 0 ok, 1 canceled"},
		{0, "list", "worker/"},
		{0, "types", "backup"},
		{0, "help exit-codes", "waits for a person"},
	} {
		code, output := run(t, env, strings.Fields(test.args)...)
		if code != test.code || !strings.Contains(output, test.text) {
			t.Errorf("%s: exit %d, want %d\n%s", test.args, code, test.code, output)
		}
	}
}

// TestSignals leave the task alone, and end the program with their own exit codes.
func TestSignals(t *testing.T) {
	t.Parallel()
	env := devTasker(t)
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		id := fmt.Sprintf("s%d", signal)
		p := start(t, env, "run", "sleep", id, "-e", "console1", "seconds=1000", "--output", "jsonl")
		until(t, "the task to be watched", func() bool { return strings.Contains(p.output(), `"kind":"result"`) })
		_ = p.cmd.Process.Signal(signal)
		if got := p.wait(); got != code || !strings.Contains(p.output(), "tasker watch sleep/"+id+" comes back") {
			t.Errorf("%s: exit %d\n%s", signal, got, p.output())
		}
		p = start(t, env, "watch", "sleep/"+id, "--cancel-on-interrupt", "--output", "jsonl")
		until(t, "the task to be watched", func() bool { return strings.Contains(p.output(), `"kind":"result"`) })
		_ = p.cmd.Process.Signal(signal)
		if got := p.wait(); got != 6 {
			t.Errorf("%s: exit %d\n%s", signal, got, p.output())
		}
	}
}
