// Package rights_test tests what can be tested of the example without rights.
package rights_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// settings returns the settings of a task type in the configuration.
func settings(t *testing.T, name string) handlers.Settings {
	t.Helper()
	var conf struct {
		TaskTypes []struct {
			Name     string
			Settings map[string]any
		} `yaml:"task_types"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "config/development.config.yaml")), &conf); err != nil {
		t.Fatal(err)
	}
	for _, taskType := range conf.TaskTypes {
		if taskType.Name == name {
			return taskType.Settings
		}
	}
	t.Fatalf("unknown task type %s", name)
	return nil
}

func run(t *testing.T, s handlers.Settings, payload string, step int) (string, error) {
	t.Helper()
	h, err := builtin.Catalog().Make("exec", s)
	if err != nil {
		t.Fatal(err)
	}
	result, err := h.Handle(t.Context(), &handlers.Request{Payload: []byte(payload), Step: step})
	return string(result), err
}

// TestRestart: the units are those of the rule, and only these reach systemctl.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := settings(t, "restart")
	units := s["parameters"].(map[string]any)["unit"].(map[string]any)["enum"].([]any)
	for _, unit := range units {
		if !strings.Contains(read(t, "tasker.rules"), `"`+unit.(string)+`"`) {
			t.Errorf("the rule has no %v", unit)
		}
	}
	if n := strings.Count(read(t, "tasker.rules"), `.service"`); n != len(units) {
		t.Errorf("the rule has %d units, the configuration %d", n, len(units))
	}
	command := s["command"].([]any)
	command[0] = "echo"
	if out, err := run(t, s, `{"unit":"nginx.service"}`, 1); err != nil || out != `"--no-ask-password restart nginx.service"` {
		t.Errorf("got %s, %v", out, err)
	}
	for _, payload := range []string{`{"unit":"sshd.service"}`, `{"unit":"--help"}`, `{}`} {
		if out, err := run(t, s, payload, 1); err == nil || !handlers.IsPermanent(err) {
			t.Errorf("%s: got %s, %v", payload, out, err)
		}
	}
}

// TestUpdate: a reboot if necessary, and success after it.
func TestUpdate(t *testing.T) {
	t.Parallel()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	needed := filepath.Join(t.TempDir(), "reboot-required")
	s := settings(t, "update")
	s["command"] = filepath.Join(here, "update.sh")
	s["environment"] = map[string]any{"UPDATE": "true", "REBOOT_REQUIRED": needed}
	if out, err := run(t, s, "{}", 1); err != nil || out != `{"updated":true,"rebooted":false}` {
		t.Errorf("no reboot: got %s, %v", out, err)
	}
	if err := os.WriteFile(needed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, s, "{}", 1); !errors.Is(err, handlers.ErrContinueAfterReboot) {
		t.Errorf("a reboot: got %v", err)
	}
	if out, err := run(t, s, "{}", 2); err != nil || out != `{"updated":true,"rebooted":true}` {
		t.Errorf("after it: got %s, %v", out, err)
	}
	s["environment"] = map[string]any{"UPDATE": "false", "REBOOT_REQUIRED": needed}
	if _, err := run(t, s, "{}", 1); handlers.Errnr(err) != 1 {
		t.Errorf("a failed update: got %v", err)
	}
}

// TestFilesAreValid asks the programs that read them, if they are installed.
func TestFilesAreValid(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{
		{"visudo", "-cf", "sudoers"},
		{"node", "-e", `
let rule;
globalThis.polkit = {Result: {YES: "yes", NOT_HANDLED: "no"}, addRule: (f) => { rule = f; }};
require("vm").runInThisContext(require("fs").readFileSync("tasker.rules", "utf8"));
const ask = (user, id, details) => rule({id, lookup: (name) => details[name]}, {user});
const units = "org.freedesktop.systemd1.manage-units";
const asked = [
  ask("tasker-manager", units, {unit: "app.service", verb: "restart"}),
  ask("tasker-manager", "org.freedesktop.login1.reboot", {}),
  ask("tasker-manager", units, {unit: "app.service", verb: "stop"}),
  ask("tasker-manager", units, {unit: "sshd.service", verb: "restart"}),
  ask("tasker-manager", "org.freedesktop.systemd1.manage-unit-files", {}),
  ask("tasker-api", units, {unit: "app.service", verb: "restart"}),
];
if (asked.join() !== "yes,yes,no,no,no,no") throw asked;`},
	} {
		if _, err := exec.LookPath(command[0]); err != nil {
			t.Logf("%s is not installed", command[0])
			continue
		}
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", command[0], err, out)
		}
	}
}
