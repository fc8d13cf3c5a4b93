package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// TestADaemonIsCalledAsItIs: in the help of every command, and in messages.
func TestADaemonIsCalledAsItIs(t *testing.T) {
	t.Parallel()
	execute := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := cli.Execute(t.Context(), cli.Program{Name: "fleetd", Args: args, Stdout: &out, Stderr: &out, Version: "1"})
		return code, out.String()
	}
	for _, command := range []string{"", "api", "manager", "initialize", "dev", "doctor", "dead-letters", "dead-letters requeue", "config", "config check", "config show", "config example", "version"} {
		code, help := execute(append(strings.Fields(command), "--help")...)
		if code != cli.ExitOK || !strings.Contains(help, "fleetd") {
			t.Errorf("%s: exit code %d\n%s", command, code, help)
		}
		for _, wrong := range []string{`"tasker `, "\n  tasker ", "tasker " + command + " [flags]"} {
			if strings.Contains(help, wrong) {
				t.Errorf("the help of %q holds %q:\n%s", command, wrong, help)
			}
		}
	}
	if code, out := execute("nope"); code != cli.ExitUsage || out != "fleetd: unknown command \"nope\" (see fleetd --help)\n" {
		t.Errorf("exit code %d: %s", code, out)
	}
	if _, out := execute("version"); !strings.HasPrefix(out, "fleetd 1 (") {
		t.Error(out)
	}
}

// TestCompletion offers values, and files nowhere.
func TestCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "staging.config.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const noFiles, directories = ":4", ":16"
	for args, want := range map[string]string{
		"--config=" + dir + " --mode|":   "development production staging " + noFiles,
		"config show --output|":          "text json " + noFiles,
		"api --log-level|":               "debug info warn error " + noFiles,
		"manager --task-type|":           "worker backup sleep " + noFiles,
		"manager --endpoint|":            noFiles,
		"api|":                           noFiles,
		"dead-letters show|":             noFiles,
		"dev --data|":                    directories,
		"api --config|":                  directories,
		"initialize --database --reset|": noFiles,
	} {
		line := append([]string{"__complete"}, strings.Fields(strings.TrimSuffix(args, "|"))...)
		o := tasker(t, nil, nil, append(line, "")...)
		if got := strings.Join(strings.Fields(o.stdout), " "); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

// TestInitializeJSON prints JSON, also after a failure.
func TestInitializeJSON(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]error{"": nil, "denied": os.ErrPermission} {
		var stdout, stderr bytes.Buffer
		code := cli.Execute(t.Context(), cli.Program{
			Actions: cli.Actions{InitDatabase: func(_ context.Context, _ config.Config, opts app.InitOptions) error {
				_, _ = opts.Out.Write([]byte("database d: created\nschema: migrated\n"))
				return fail
			}},
			Args: []string{"initialize", "--database", "--output", "json"}, Stdout: &stdout, Stderr: &stderr,
		})
		var got struct {
			OK     bool     `json:"ok"`
			DryRun bool     `json:"dry_run"`
			Done   []string `json:"done"`
		}
		if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || got.OK != (fail == nil) || got.DryRun ||
			strings.Join(got.Done, "|") != "database d: created|schema: migrated" || (code == 0) != (fail == nil) || (stderr.Len() == 0) != (fail == nil) {
			t.Errorf("%s: %v, exit code %d\nstdout %s\nstderr %s", name, err, code, stdout.String(), stderr.String())
		}
	}
}

// TestConfigCheckWarns, in both forms, and ends well.
func TestConfigCheckWarns(t *testing.T) {
	t.Parallel()
	environ := []string{"TASKER_MANAGER_DB_URI=mysql://u:p@db.example/d", "TASKER_API_PORT=tcp://10.0.0.1:80"}
	o := tasker(t, nil, environ, "config", "check")
	if o.code != 0 || !strings.Contains(o.stdout, "no mistakes") || !strings.Contains(o.stdout, "\nwarning: TASKER_API_PORT: ignored") ||
		!strings.Contains(o.stdout, "\nwarning: TASKER_MANAGER_DB_URI: manager.db.uri: db.example is another host") {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	o = tasker(t, nil, environ, "config", "check", "--output", "json")
	var answer struct {
		OK       bool     `json:"ok"`
		Warnings []string `json:"warnings"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &answer); err != nil || o.code != 0 || !answer.OK || len(answer.Warnings) != 2 {
		t.Errorf("%v, exit code %d\n%s", err, o.code, o.stdout)
	}
	if o = tasker(t, nil, environ, "api"); o.code != 0 || o.cfg.API.Port != 8888 || !strings.Contains(o.stderr, "db.example is another host") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
}
