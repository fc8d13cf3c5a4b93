package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mendable is a program that fails while a file says so, or waits for ever. Its argument
// is the directory of these files.
const mendable = `#!/bin/sh
if [ -e "$1/broken-$TASKER_ENDPOINT" ]; then
	echo broken >&2
	exit 3
fi
if [ -e "$1/slow-$TASKER_ENDPOINT" ]; then
	: > "$1/started-$TASKER_ENDPOINT"
	exec sleep 1000
fi
`

// mending is a directory with such a program, and the files that say what it does.
type mending struct {
	t   *testing.T
	dir string
}

func newMending(t *testing.T) mending {
	t.Helper()
	m := mending{t, t.TempDir()}
	if err := os.WriteFile(m.path("program"), []byte(mendable), 0o700); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m mending) path(name string) string { return filepath.Join(m.dir, name) }

func (m mending) add(name string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), nil, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m mending) remove(name string) {
	m.t.Helper()
	if err := os.Remove(m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

// types is the environment with a task type for the program.
func (m mending) types() string {
	return `TASKER_TASK_TYPES=[{name: program, handler: exec, settings: {command: ["` + m.path("program") + `", "` + m.dir + `"]}}]`
}

// A program fails at one endpoint, and is mended; its manager is killed during the
// second round; another endpoint has not received the task. Each round goes on where the
// one before has left off, beside the database and over the gateway.
func TestRetry(t *testing.T) {
	t.Parallel()
	t.Run("database", func(t *testing.T) {
		t.Parallel()
		m := newMending(t)
		s := newSystem(t, m.types(), "TASKER_API_WAIT_FOR_ENDPOINTS_TIMEOUT=1s")
		s.api()
		testRetry(t, m, s, func(endpoint string) *process { return s.manager(endpoint) })
	})
	t.Run("gateway", func(t *testing.T) {
		t.Parallel()
		m := newMending(t)
		f := newGuests(t, m.types(), "TASKER_API_WAIT_FOR_ENDPOINTS_TIMEOUT=1s")
		f.api()
		for _, endpoint := range []string{"console1", "console2", "console3"} {
			f.issue(endpoint, "add")
		}
		testRetry(t, m, f.system, f.over)
	})
}

func testRetry(t *testing.T, m mending, s *system, manager func(endpoint string) *process) {
	t.Helper()
	command := append([]string{"TASKER_API_URL=" + s.base}, s.env...)
	retry := func(want int, text string, args ...string) {
		t.Helper()
		code, output := run(t, command, append([]string{"retry", "program/one"}, args...)...)
		if code != want || !strings.Contains(output, text) {
			t.Fatalf("retry %v: exit %d: %s", args, code, output)
		}
	}
	manager("console1")
	second := manager("console2")
	m.add("broken-console2")
	s.accept("program", `{"identifier":"one","endpoints":["console1","console2","console3"]}`)
	s.awaitFor("/program/one", "be INCOMPLETE", func(a answer) bool {
		return a.Task.Status == "INCOMPLETE" && a.state("console1") == "DONE" && a.state("console2") == "FAILED"
	})

	m.remove("broken-console2")
	m.add("slow-console2")
	retry(0, "retried: 2 (console2, console3)", "--only", "unfinished", "--dry-run")
	retry(0, "program/one is SENT, round 2\nretried: 1 (console2)", "--only", "failed", "--reason", "mended")
	s.until("the program to run", func() bool {
		_, err := os.Stat(m.path("started-console2"))
		return err == nil
	})
	retry(1, "running: 1", "-e", "console2")
	second.kill()
	m.remove("slow-console2")
	manager("console2")
	s.awaitFor("/program/one", "be interrupted", func(a answer) bool { return a.state("console2") == "FAILED" })

	retry(0, "round 3\nretried: 2 (console2, console3)", "--only", "unfinished")
	s.awaitFor("/program/one", "be DONE at console2", func(a answer) bool { return a.state("console2") == "DONE" })
	manager("console3")
	a := s.await("/program/one", "DONE")
	attempts := map[string]int{}
	for _, r := range a.TaskResponseList {
		attempts[r.Endpoint] = r.Attempt
	}
	if attempts["console1"] != 1 || attempts["console2"] != 3 || attempts["console3"] != 1 {
		t.Errorf("attempts %v", attempts)
	}
	retry(1, "nothing to retry", "--only", "failed")

	var history struct {
		Attempts []struct {
			Round int
			State string
			Errnr int
		}
	}
	if code, _, err := s.request(http.MethodGet, "/program/one/results/console2", "", &history); err != nil || code != http.StatusOK {
		t.Fatal(code, err)
	}
	if h := history.Attempts; len(h) != 3 || h[0].Errnr != 3 || h[0].Round != 0 || h[1].Errnr != -6 || h[1].Round != 2 ||
		h[2].State != "DONE" || h[2].Round != 3 {
		t.Errorf("%+v", h)
	}
}
