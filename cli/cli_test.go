package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
	"github.com/taskerhq/tasker/internal/app"
)

// called is what the last action was called with.
type called struct {
	action               string
	cfg                  config.Config
	endpoints, taskTypes []string
	forget               bool
	dev                  app.DevOptions
	init                 []app.InitOptions
	reload               app.Reload
	log                  *slog.Logger
}

// outcome is what a command did.
type outcome struct {
	called
	code           int
	stdout, stderr string
}

// tasker runs a command with actions that only note their call, and end with
// fail. It runs in the built-in development mode, unless args say otherwise.
func tasker(t *testing.T, fail error, environ []string, args ...string) outcome {
	t.Helper()
	var o outcome
	var stdout, stderr bytes.Buffer
	note := func(name string, cfg config.Config, log *slog.Logger) error {
		o.action += name
		o.cfg, o.log = cfg, log
		return fail
	}
	o.code = cli.Execute(t.Context(), cli.Program{
		Actions: cli.Actions{
			RunAPI: func(_ context.Context, cfg config.Config, opts app.APIOptions, log *slog.Logger) error {
				o.reload = opts.Reload
				return note("api", cfg, log)
			},
			RunManager: func(_ context.Context, cfg config.Config, opts app.ManagerOptions, log *slog.Logger) error {
				o.endpoints, o.taskTypes, o.reload = opts.Endpoints, opts.TaskTypes, opts.Reload
				o.forget = opts.Forget
				return note("manager", cfg, log)
			},
			RunGateway: func(_ context.Context, cfg config.Config, opts app.GatewayOptions, log *slog.Logger) error {
				o.reload = opts.Reload
				return note("gateway", cfg, log)
			},
			RunDev: func(_ context.Context, cfg config.Config, opts app.DevOptions, log *slog.Logger) error {
				o.dev, o.reload = opts, opts.Reload
				return note("dev", cfg, log)
			},
			InitDatabase: func(_ context.Context, cfg config.Config, opts app.InitOptions) error {
				o.init = append(o.init, opts)
				return note("database", cfg, nil)
			},
			InitRabbitMQ: func(_ context.Context, cfg config.Config, opts app.InitOptions) error {
				o.init = append(o.init, opts)
				return note("rabbitmq", cfg, nil)
			},
		},
		Args: args, Environ: environ, Stdout: &stdout, Stderr: &stderr, Version: "1.2.3",
		Daemon: func() <-chan os.Signal { return make(chan os.Signal) },
	})
	o.stdout, o.stderr = stdout.String(), stderr.String()
	return o
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"nope":                                      `unknown command "nope" (see tasker --help)`,
		"ap":                                        `unknown command "ap"; did you mean api? (see tasker --help)`,
		"config shw":                                `unknown command "shw"; did you mean show? (see tasker config --help)`,
		"api now":                                   `unexpected argument "now": tasker api takes none (see tasker api --help)`,
		"api --prt=1":                               "unknown flag: --prt; did you mean --port? (see tasker api --help)",
		"manager --tasktype=x":                      "unknown flag: --tasktype; did you mean --task-type? (see tasker manager --help)",
		"api --something=x":                         "unknown flag: --something (see tasker api --help)",
		"dev --port=x":                              `invalid argument "x" for "--port" flag: strconv.ParseInt: parsing "x": invalid syntax (see tasker dev --help)`,
		"dev --port=70000":                          "configuration: --port: invalid api.port: must be a whole number 0-65535, got 70000",
		"dev --ephemeral --data=x":                  "--data and --ephemeral exclude each other",
		"dev --data=":                               "empty --data: name a directory, or use --ephemeral",
		"doctor --data=x":                           `--data is the directory of "tasker dev": give --dev, too, or neither`,
		"dead-letters list --data=x":                `--data is the directory of "tasker dev": give --dev, too, or neither`,
		"dead-letters list --dev --data=/no":        "tasker dev is not running in /no: start it, or name its directory with --data",
		"doctor --dev --data=/no":                   "database of tasker dev not found in /no: name its directory with --data, or start it first",
		"version --output=xml":                      `invalid --output "xml": must be text or json`,
		"version --output=":                         `invalid --output "": must be text or json`,
		"api --log-level=loud":                      `configuration: --log-level: invalid log.level: must be one of debug, info, warn, error, got "loud"`,
		"manager":                                   `missing --endpoint: name the endpoint to serve, such as --endpoint console1 or --endpoint "$(hostname -s)"`,
		"manager --endpoint=any":                    `--endpoint: invalid endpoint "any": reserved name: choose another`,
		"manager --endpoint=a --endpoint=a":         "duplicate --endpoint a",
		"manager --endpoint=a --label=web":          "configuration: --label: invalid manager.labels: must be a mapping of names to text, such as {role: web, zone: eu}, or role=web,zone=eu in a variable or flag",
		"manager --endpoint=a --task-type=x":        `--task-type: task type "x" not found: must be one of worker, backup, sleep`,
		"initialize":                                "nothing to initialize: give --database, --rabbitmq, or both",
		"initialize --database --yes":               "--yes confirms --reset: give both, or neither",
		"initialize --database --force":             "--force needs --reset --yes",
		"api --config=nowhere":                      `configuration: nowhere/development.config.yaml does not exist: name its directory with --config or TASKER_CONFIG, create it from "tasker config example --mode development", or set TASKER_TASK_TYPES, TASKER_MANAGER_DB_URI, TASKER_MANAGER_MESSAGE_QUEUE_URI instead`,
		"config example --mode=staging":             "configuration: unknown example staging.config.yaml: must be development or production",
		"manager --endpoint=a --task-type=worker,x": `--task-type: task type "worker,x" not found: must be one of worker, backup, sleep`,
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			o := tasker(t, nil, nil, strings.Fields(args)...)
			if o.code != cli.ExitUsage || o.stderr != "tasker: "+want+"\n" || o.stdout != "" || o.action != "" {
				t.Errorf("exit code %d, action %q\nstdout %s\nstderr %s\nwant   tasker: %s", o.code, o.action, o.stdout, o.stderr, want)
			}
		})
	}
}

func TestFailuresAreOneLine(t *testing.T) {
	t.Parallel()
	fail := errors.New("the port is taken")
	for _, args := range []string{"api", "manager --endpoint a", "dev", "initialize --database", "initialize --rabbitmq"} {
		o := tasker(t, fail, nil, strings.Fields(args)...)
		if o.code != cli.ExitFailure || o.stderr != "tasker: the port is taken\n" || o.stdout != "" {
			t.Errorf("%s: exit code %d\nstdout %s\nstderr %s", args, o.code, o.stdout, o.stderr)
		}
	}
}

func TestDaemons(t *testing.T) {
	t.Parallel()
	o := tasker(t, nil, []string{"TASKER_API_PORT=1000"}, "api", "--log-level", "debug")
	if o.code != 0 || o.action != "api" || o.cfg.API.Port != 1000 || !o.log.Enabled(t.Context(), slog.LevelDebug) || o.stderr != "" {
		t.Errorf("api: %+v", o)
	}
	if o = tasker(t, nil, []string{"TASKER_API_PORT=1000"}, "api", "--port", "2000"); o.code != 0 || o.cfg.API.Port != 2000 {
		t.Errorf("api with a port: %+v", o)
	}
	o = tasker(t, nil, nil, "manager", "--endpoint", "console1", "--endpoint=console2", "--task-type", "sleep")
	if o.code != 0 || !slices.Equal(o.endpoints, []string{"console1", "console2"}) || !slices.Equal(o.taskTypes, []string{"sleep"}) {
		t.Errorf("manager: %+v", o)
	}
	if o.forget {
		t.Error("the manager removes its endpoints, and nobody asked it to")
	}
	if o = tasker(t, nil, nil, "manager", "--endpoint", "console1", "--forget"); o.code != 0 || !o.forget {
		t.Errorf("manager that says goodbye: %+v", o)
	}
	o = tasker(t, nil, nil, "manager", "--endpoint", "console1")
	if o.code != 0 || o.taskTypes != nil { // all there are, at any time
		t.Errorf("manager of all types: %+v", o)
	}
	o = tasker(t, nil, []string{"TASKER_MANAGER_LABELS=a=b"}, "manager", "--endpoint", "a", "--label", "role=web", "--label=zone=eu 1")
	if want := map[string]string{"role": "web", "zone": "eu 1"}; o.code != 0 || !maps.Equal(o.cfg.Manager.Labels, want) {
		t.Errorf("manager with labels: %v, %+v", o.cfg.Manager.Labels, o)
	}
	// What others would need is no business of a command.
	others := []string{"TASKER_API_TOKEN_FILE=/nowhere", "TASKER_RABBITMQ_PASSWORD=", "TASKER_RABBITMQ_USER=u"}
	if o = tasker(t, nil, others, "manager", "--endpoint", "console1"); o.code != 0 {
		t.Errorf("manager without the API's token: %+v", o)
	}
	if o = tasker(t, nil, others, "api"); o.code != cli.ExitUsage || !strings.Contains(o.stderr, "invalid api.token_file: /nowhere does not exist") {
		t.Errorf("api without its token: %+v", o)
	}
}

func TestDev(t *testing.T) {
	t.Parallel()
	o := tasker(t, nil, []string{"TASKER_MANAGER_DB_PASSWORD_FILE=/nowhere"}, "dev")
	if o.code != 0 || o.dev.DataDir != "data/dev" || o.dev.Ephemeral || o.dev.Version != "1.2.3" || o.cfg.API.Port != 8888 {
		t.Errorf("%+v", o)
	}
	o = tasker(t, nil, []string{"TASKER_API_PORT=1"}, "dev", "--ephemeral", "--port", "0")
	if o.code != 0 || o.dev.DataDir != "" || !o.dev.Ephemeral || o.cfg.API.Port != 0 {
		t.Errorf("%+v", o)
	}
	if o = tasker(t, nil, []string{"TASKER_API_PORT=1000"}, "dev", "--data", "x"); o.dev.DataDir != "x" || o.cfg.API.Port != 1000 {
		t.Errorf("%+v", o)
	}
}

func TestInitialize(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]struct {
		action        string
		code          int
		reset, dryRun bool
	}{
		"--database":                          {"database", 0, false, false},
		"--rabbitmq --database":               {"databaserabbitmq", 0, false, false},
		"--database --reset":                  {"database", cli.ExitUsage, true, true},
		"--database --rabbitmq --reset --yes": {"databaserabbitmq", 0, true, false},
		"--rabbitmq --database --reset":       {"databaserabbitmq", cli.ExitUsage, true, true},
	} {
		o := tasker(t, nil, nil, append([]string{"initialize"}, strings.Fields(args)...)...)
		if o.code != want.code || o.action != want.action {
			t.Errorf("%s: exit code %d, did %q, stderr %s", args, o.code, o.action, o.stderr)
		}
		for _, opts := range o.init {
			if opts.Reset != want.reset || opts.DryRun != want.dryRun || opts.Out == nil {
				t.Errorf("%s: %+v", args, opts)
			}
		}
		if want.dryRun != strings.Contains(o.stderr, "nothing was dropped: add --yes to drop it") {
			t.Errorf("%s: stderr %s", args, o.stderr)
		}
	}
	// One that fails does not keep the other from its work.
	o := tasker(t, errors.New("down"), nil, "initialize", "--database", "--rabbitmq", "--reset")
	if o.code != cli.ExitFailure || o.action != "databaserabbitmq" || o.stderr != "tasker: down\ndown\n" {
		t.Errorf("%+v", o)
	}
}

func TestConfigCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content := "task_types: [sleep]\nmanager:\n  db: {uri: 'mysql://u:hunter2@h/d'}\n  message_queue: {uri: 'amqp://u:hunter2@h/v'}\n"
	path := filepath.Join(dir, "staging.config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"TASKER_MODE=staging", "TASKER_CONFIG=" + dir}
	if o := tasker(t, nil, environ, "config", "check"); o.code != 0 || !strings.HasPrefix(o.stdout, path+": no mistakes (mode staging, 1 task types)\nwarning: ") {
		t.Errorf("check: %+v", o)
	}
	o := tasker(t, nil, environ, "config", "show")
	if o.code != 0 || !strings.Contains(o.stdout, "mysql://u:****@h/d") || strings.Contains(o.stdout, "hunter2") {
		t.Errorf("show: %+v", o)
	}
	o = tasker(t, nil, environ, "config", "show", "--output", "json")
	var shown struct {
		API struct {
			Port int `json:"port"`
		} `json:"api"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &shown); err != nil || shown.API.Port != 8888 || strings.Contains(o.stdout, "hunter2") {
		t.Errorf("show as JSON: %v, %s", err, o.stdout)
	}
	// Flags are stronger than variables.
	if o := tasker(t, nil, environ, "config", "check", "--mode", "production"); o.code != cli.ExitUsage || !strings.Contains(o.stderr, dir+"/production.config.yaml does not exist") {
		t.Errorf("check of another mode: %+v", o)
	}
	wrong := append(environ, "TASKER_API_PORT=x", "TASKER_API_PRT=1")
	types := []string{"TASKER_MODE=other", "TASKER_CONFIG=" + t.TempDir()}
	if err := os.WriteFile(filepath.Join(strings.TrimPrefix(types[1], "TASKER_CONFIG="), "other.config.yaml"), []byte("task_types: [sleep]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := tasker(t, nil, types, "config", "check"); o.code != cli.ExitUsage || !strings.Contains(o.stderr, "missing manager.db.uri") {
		t.Errorf("without a database: %+v", o)
	}
	if o := tasker(t, nil, types, "config", "check", "--dev"); o.code != 0 || !strings.Contains(o.stdout, "no mistakes") {
		t.Errorf("for dev: %+v", o)
	}
	if o := tasker(t, nil, append(types, "TASKER_API_PORT=x"), "config", "check", "--dev"); o.code != cli.ExitUsage {
		t.Errorf("for dev, with a mistake: %+v", o)
	}
	if o := tasker(t, nil, wrong, "config", "check"); o.code != cli.ExitUsage || strings.Count(o.stderr, "\n") != 3 {
		t.Errorf("check with mistakes: %+v", o)
	}
	want, err := config.Shipped("production")
	if err != nil {
		t.Fatal(err)
	}
	if o := tasker(t, nil, nil, "config", "example", "--mode", "production"); o.stdout != string(want) {
		t.Errorf("example: %+v", o)
	}
}

// unable is a handler whose program is not there.
type unable struct{ handlers.Handler }

func (unable) Check() error { return errors.New("there is no program /opt/deploy") }

// TestConfigCheckNotes: that programs can read the manager's secrets is no
// mistake, but is said, except where there are none.
func TestConfigCheckNotes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(user string) {
		t.Helper()
		text := "manager: {db: {uri: mysql://u@h:3306/d}, message_queue: {uri: amqp://u@h:5672/v}}\n" +
			"task_types:\n  - {name: disk, handler: exec, settings: {command: [/bin/true]" + user + "}}\n"
		if err := os.WriteFile(filepath.Join(dir, "development.config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const note = `note: task type disk: the setting "user" is not set: its programs run with the manager's rights`
	write("")
	if o := tasker(t, nil, nil, "config", "check", "--config", dir); o.code != cli.ExitOK || !strings.Contains(o.stdout, note) {
		t.Errorf("got %+v", o)
	}
	if o := tasker(t, nil, nil, "config", "check", "--config", dir, "--output", "json"); o.code != cli.ExitOK || !strings.Contains(o.stdout, `"notes": [`) {
		t.Errorf("got %+v", o)
	}
	if o := tasker(t, nil, nil, "config", "check", "--config", dir, "--dev"); o.code != cli.ExitOK || strings.Contains(o.stdout, "note: ") {
		t.Errorf("for dev: got %+v", o)
	}
	write(", user: nobody")
	if o := tasker(t, nil, nil, "config", "check", "--config", dir, "--programs=false"); o.code != cli.ExitOK || strings.Contains(o.stdout, "note: ") {
		t.Errorf("with a user: got %+v", o)
	}
}

// TestConfigCheckOfPrograms asks the handlers, except with --programs=false.
func TestConfigCheckOfPrograms(t *testing.T) {
	t.Parallel()
	catalog := builtin.Catalog()
	err := catalog.Add("deploy", func(handlers.Settings) (handlers.Handler, error) { return unable{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	check := func(environ []string, args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		code = cli.Execute(t.Context(), cli.Program{
			Args: append([]string{"config", "check"}, args...), Environ: environ, Stdout: &out, Stderr: &errs, Handlers: catalog,
		})
		return code, out.String(), errs.String()
	}
	environ := []string{"TASKER_TASK_TYPES=worker,deploy"}
	const problem = "TASKER_TASK_TYPES: task_types[1]: task type deploy: there is no program /opt/deploy"
	code, stdout, stderr := check(environ)
	if code != cli.ExitUsage || stdout != "" || stderr != "tasker: configuration: "+problem+"\n" {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	if code, stdout, stderr = check(environ, "--programs=false"); code != cli.ExitOK || !strings.Contains(stdout, "no mistakes") || stderr != "" {
		t.Errorf("without programs: exit code %d\n%s\n%s", code, stdout, stderr)
	}
	type answer struct {
		OK              bool
		Mode, File      string
		Problems, Types []string
	}
	for name, test := range map[string]struct {
		environ []string
		args    []string
		want    answer
		code    int
	}{
		"a program": {environ, nil, answer{false, "development", "built-in development.config.yaml", []string{problem}, nil}, cli.ExitUsage},
		"a value": {
			[]string{"TASKER_API_PORT=x"},
			nil,
			answer{false, "development", "config/development.config.yaml", []string{`TASKER_API_PORT: invalid api.port: must be a whole number 0-65535, got "x"`}, nil},
			cli.ExitUsage,
		},
		"no mistakes": {environ, []string{"--programs=false"}, answer{true, "development", "built-in development.config.yaml", nil, nil}, cli.ExitOK},
	} {
		code, stdout, stderr := check(test.environ, append(test.args, "--output=json")...)
		var got answer
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || stderr != "" || code != test.code || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: exit code %d, %v\n%s\n%s", name, code, err, stdout, stderr)
		}
	}
}

// TestDaemonsReadAgain hands on what asks for it, and the level of the log.
func TestDaemonsReadAgain(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"api", "manager --endpoint a", "dev --ephemeral"} {
		o := tasker(t, nil, nil, strings.Fields(args)...)
		if o.code != 0 || o.reload.Asked == nil || o.reload.Period <= 0 || o.reload.Level == nil {
			t.Errorf("%s: %+v", args, o.reload)
			continue
		}
		if o.log.Enabled(t.Context(), slog.LevelDebug) {
			t.Errorf("%s: debug from the start", args)
		}
		o.reload.Level.Set(slog.LevelDebug)
		if !o.log.Enabled(t.Context(), slog.LevelDebug) {
			t.Errorf("%s: the log does not follow its level", args)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if o := tasker(t, nil, nil, "version"); o.code != 0 || !strings.HasPrefix(o.stdout, "tasker 1.2.3 (go1") {
		t.Errorf("%+v", o)
	}
	var v struct{ Version, Go, Platform string }
	o := tasker(t, nil, nil, "version", "--output=json")
	if err := json.Unmarshal([]byte(o.stdout), &v); err != nil || v.Version != "1.2.3" || v.Go == "" || v.Platform == "" {
		t.Errorf("%v: %s", err, o.stdout)
	}
}

// TestEveryCommandHelps holds all commands to a long help and an example.
func TestEveryCommandHelps(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"", "api", "manager", "initialize", "dev", "doctor", "dead-letters", "dead-letters list", "dead-letters show",
		"dead-letters requeue", "dead-letters discard", "config", "config check", "config show", "config example", "version",
	} {
		o := tasker(t, nil, nil, append(strings.Fields(command), "--help")...)
		if o.code != 0 || len(o.stdout) < 300 || !strings.Contains(o.stdout, "Example") || o.stderr != "" {
			t.Errorf("%s: %+v", command, o)
		}
	}
}

func TestLogFormats(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"auto": `{"time":`, "json": `"wait":"1.5s"`, "text": "INF it wait=1.5s"} {
		var stderr bytes.Buffer
		code := cli.Execute(t.Context(), cli.Program{
			Actions: cli.Actions{RunAPI: func(ctx context.Context, _ config.Config, _ app.APIOptions, log *slog.Logger) error {
				log.InfoContext(ctx, "it", "wait", 1500*time.Millisecond)
				log.DebugContext(ctx, "not this")
				return nil
			}},
			Args: []string{"api"}, Environ: []string{"TASKER_LOG_FORMAT=" + format}, Stdout: &stderr, Stderr: &stderr,
		})
		got := stderr.String()
		if code != 0 || !strings.Contains(got, want) || strings.Contains(got, "\x1b") || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q", format, code, got)
		}
	}
}

func ExampleExecute() {
	code := cli.Execute(context.Background(), cli.Program{
		Args: []string{"manager"}, Stdout: os.Stdout, Stderr: os.Stdout, Version: "1.2.3",
	})
	fmt.Println(code)
	// Output:
	// tasker: missing --endpoint: name the endpoint to serve, such as --endpoint console1 or --endpoint "$(hostname -s)"
	// 2
}
