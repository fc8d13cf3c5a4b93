package endpointcheck_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/endpointcheck"
	"github.com/taskerhq/tasker/internal/testservices"
)

// check checks an endpoint, and returns the outcomes of its checks by name.
func check(t *testing.T, patience time.Duration, command []string) map[string][]endpointcheck.Result {
	t.Helper()
	results, err := endpointcheck.Run(t.Context(), endpointcheck.Config{
		RabbitMQ: testservices.RabbitMQ(t), Endpoint: "node1", TaskType: "check", Command: command, Log: t.Output(),
		Environ: []string{"PATH=" + os.Getenv("PATH")}, Patience: patience,
		Report: func(r endpointcheck.Result) {
			t.Logf("%s: %s: expected %s; seen %s", r.Outcome, r.Check, r.Expected, r.Seen)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string][]endpointcheck.Result{}
	for _, r := range results {
		byName[r.Check] = append(byName[r.Check], r)
	}
	return byName
}

// failed returns the checks that did not pass.
func failed(results map[string][]endpointcheck.Result) (names []string) {
	for name, list := range results {
		for _, r := range list {
			if r.Outcome != endpointcheck.Passed {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// node installs what the example in JavaScript needs, and returns the directory.
func node(t *testing.T) (dir string) {
	t.Helper()
	testservices.NeedNode(t)
	dir = t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join("../../examples/endpoint-node", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

// endpointIn writes the example with a replacement to a directory of [node], and
// returns its command.
func endpointIn(t *testing.T, dir, file, old, replacement string) []string {
	t.Helper()
	data, err := os.ReadFile("../../examples/endpoint-node/endpoint.js")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("the example does not have %q", old)
	}
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(data), old, replacement)), 0o600); err != nil {
		t.Fatal(err)
	}
	handlers, err := filepath.Abs("testdata/handlers.js")
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"env", "TASKER_ENDPOINT={endpoint}", "TASKER_GATEWAY={gateway}", "TASKER_TOKEN_FILE={token_file}", "TASKER_RABBITMQ={rabbitmq}",
		"node", path, handlers,
	}
}

func TestEndpointInJavaScript(t *testing.T) {
	t.Parallel()
	if names := failed(check(t, time.Minute, endpointIn(t, node(t), "endpoint.js", "", ""))); len(names) > 0 {
		t.Errorf("not passed: %q", names)
	}
}

// A manager that has no database passes.
func TestManager(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "tasker")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/taskerhq/tasker/cmd/tasker")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	handler, err := filepath.Abs("testdata/run.py")
	if err != nil {
		t.Fatal(err)
	}
	results := check(t, time.Minute, []string{
		"env", "TASKER_MANAGER_MODE=gateway", "TASKER_MANAGER_GATEWAY_ADDRESSES={gateway}",
		"TASKER_MANAGER_GATEWAY_TOKEN_FILE={token_file}", "TASKER_MANAGER_MESSAGE_QUEUE_URI={rabbitmq}",
		"TASKER_MANAGER_HEARTBEAT=500ms", "TASKER_MANAGER_LEASE=2s",
		"TASKER_TASK_TYPES=[{name: check, handler: exec, settings: {command: [" + handler + "]}}]",
		program, "manager", "--endpoint", "{endpoint}",
	})
	if names := failed(results); len(names) > 0 {
		t.Errorf("not passed: %q", names)
	}
}

// Each wrong endpoint fails the check that names what is wrong.
func TestWrongEndpoints(t *testing.T) {
	t.Parallel()
	dir := node(t)
	for _, wrong := range []struct{ file, check, old, replacement string }{
		{
			"acksfirst.js", "acknowledges after the recording",
			"record({...item, ack, refuse})", "ack()\n      record({...item, ack: () => {}, refuse})",
		},
		{
			"runsduplicates.js", "runs no duplicate",
			"if (slot && own && state === 'RUNNING') return begin(pool, task, attempt - 1).catch(fail)", "if (slot) return run(pool, task, 1)",
		},
		{"startsanyway.js", "does not start what others ended", "if (done[0]) run(", "if (true) run("},
	} {
		t.Run(wrong.check, func(t *testing.T) {
			t.Parallel()
			command := endpointIn(t, dir, wrong.file, wrong.old, wrong.replacement)
			if names := failed(check(t, 20*time.Second, command)); !slices.Contains(names, wrong.check) {
				t.Errorf("it passed; not passed: %q", names)
			}
		})
	}
}
