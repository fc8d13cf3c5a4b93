package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/taskerhq/tasker/cli"
)

// TestRunExitCodes on a real tasker. That of what waits for a person is in
// [TestHeld].
func TestRunExitCodes(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	o := execute(t, env, "", "run", "worker", "--all", "--yes")
	o.want(t, cli.ExitOK, " sent to 2 endpoints\n2 endpoints, 1 outcome in 0", "")
	o.want(t, cli.ExitOK, "\n  2  DONE  {\"yeah\":1234123,\"yiya\":\"yippie\"}  console[1-2]\nDONE: 2 ok\n", "")
	if !regexp.MustCompile(`^worker/[0-9A-HJKMNP-TV-Z]{26} sent`).MatchString(o.stdout) {
		t.Errorf("no generated identifier: %s", o.stdout)
	}
	o = execute(t, env, "", "run", "backup", "-e", "console1")
	o.want(t, cli.ExitSomeFailed, "FAILED: 0 ok, 1 failed\n", "✗ console1  FAILED 32  could not backup!\n")
	o.want(t, cli.ExitSomeFailed, "", "tasker logs "+taskName(t, o.stdout)+" -e NAME\nagain: tasker retry "+taskName(t, o.stdout)+" --only failed\n")

	o = execute(t, env, "", "run", "worker", "-e", "console1,ghost1,ghost2")
	o.want(t, cli.ExitUnaccounted, "", "again: tasker retry "+taskName(t, o.stdout)+" --only missing\n")
	o.want(t, cli.ExitUnaccounted, "  2  missing  never received it (last seen never, never)  ghost[1-2]\nINCOMPLETE: 1 ok, 2 missing\n", "")

	o = execute(t, env, "", "run", "sleep", "-e", "console1", "seconds=1000", "--wait", "1ms")
	o.want(t, cli.ExitUnaccounted, "0 ok, 1 ", "the wait of 1ms has run out: tasker watch sleep/")
	name := taskName(t, o.stdout)
	execute(t, env, "", "show", name, "--exit-status").want(t, cli.ExitUnaccounted, name, "")
	execute(t, env, "", "cancel", name).want(t, cli.ExitOK, name+" is CANCEL", "")
	execute(t, env, "", "watch", name).want(t, cli.ExitStopped, "CANCELED: 0 ok, 1 canceled\n", "")
	execute(t, env, "", "show", name, "--exit-status").want(t, cli.ExitStopped, "CANCELED", "")
	execute(t, env, "", "show", name).want(t, cli.ExitOK, "canceled", "")

	execute(t, env, "", "watch", "worker/nobody-knows").want(t, cli.ExitFailure, "", "not found")
	down := []string{"TASKER_API_URL=http://127.0.0.1:1"}
	execute(t, down, "", "run", "worker", "-e", "a").want(t, cli.ExitFailure, "", "cannot reach the API")
}

func TestRunRefused(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	names := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(names, []byte("# nobody\n\n , \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	execute(t, env, "", "run", "sleep", "any-1", "--any", "seconds=0").want(t, cli.ExitOK, "DONE: 1 ok",
		"")
	execute(t, env, "", "run", "sleep", "any-2", "--any=2", "--all", "seconds=0", "--detach").
		want(t, cli.ExitOK, "sleep/any-2 sent to any 2 of 2 endpoints\n", "")
	execute(t, env, "", "run", "sleep", "taken", "-e", "console1", "seconds=0", "--detach").want(t, cli.ExitOK, "sleep/taken sent to 1 endpoint\n", "")
	for args, want := range map[string]string{
		"worker":                                      "say whom: --all (2 endpoints perform worker), -S SELECTOR, -e NAME or --any",
		"nosuchtype":                                  "say whom: --all, -S SELECTOR, -e NAME or --any",
		"nosuchtype --all":                            "not found",
		"worker --all -e a":                           "--all, --select and --endpoint exclude each other",
		"worker --all":                                `nothing was started: "run worker" on 2 endpoints (console1, console2) needs --yes=2`,
		"worker --all --yes=3":                        "expected", // of the API
		"worker --all --yes=x":                        "invalid --yes=x",
		"worker --all --yes --expect 3":               "expected",
		"worker --all --yes --expect-min 3":           "expected",
		"worker --all --yes --expect-max 1":           "expected",
		"worker --all --expect 2 --expect-min 1":      "--expect excludes",
		"worker --all --limit 0":                      "invalid --limit",
		"worker --any=0":                              "invalid --any=0",
		"worker --any=3 -e a,b":                       "too many places",
		"worker -e -":                                 "--endpoint: no endpoints",
		"worker -e @" + names:                         "--endpoint: no endpoints",
		"worker -e @/nowhere":                         "--endpoint: open /nowhere",
		"worker -e a/b":                               "--endpoint: invalid set of names",
		"worker -e any":                               "reserved name",
		"worker -S role=none":                         "select",
		"worker -S role==web":                         "invalid selector",
		"worker -e console1 --plan sha256:0":          "invalid plan",
		"worker -e console1 --at tomorrow":            "invalid --at",
		"worker -e console1 --in soon":                "invalid --in",
		"worker -e console1 --in 1m --at 2030-01-01":  "exclude each other",
		"worker -e console1 --expires x":              "expires",
		"worker -e console1 --priority 10":            "invalid priority: must be a whole number 0-9",
		"worker -e console1 --priority high":          "invalid argument",
		"worker -e console1 --supersede":              "--supersede needs --topic",
		"worker -e console1 --topic -x":               "invalid topic",
		"worker -e console1 --payload {":              "invalid --payload",
		"worker -e console1 --payload 1 a=b":          "--payload and arguments exclude each other",
		"sleep -e console1 secnds=1":                  `unknown argument "secnds": did you mean seconds?`,
		"sleep -e console1 seconds=-1":                "/payload/seconds",
		"sleep -e console1":                           "payload",
		"sleep taken -e console1 seconds=1":           "taken",
		"worker not-started -e console1 --wait -1s":   "invalid --wait",
		"worker not-started -e console1 --progress x": "invalid --progress",
		"worker -e console1 --output names":           "invalid --output",
		"worker -e console1 --color blue":             "invalid --color",
	} {
		o := execute(t, env, "", append([]string{"run"}, strings.Fields(args)...)...)
		if o.code != cli.ExitUsage || !strings.Contains(o.stderr, want) {
			t.Errorf("%s: exit code %d, want %s\nstdout %s\nstderr %s", args, o.code, want, o.stdout, o.stderr)
		}
	}
	execute(t, env, "", "show", "worker/not-started").want(t, cli.ExitFailure, "", "not found")
}

// TestPlanThenRun: what was planned, and nothing else.
func TestPlanThenRun(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	o := execute(t, env, "", "run", "worker", "planned", "-S", "name~console*", "--limit", "50%", "--dry-run")
	o.want(t, cli.ExitOK, "worker would be for 1 endpoint of the 2 that are chosen\n", "")
	plan := regexp.MustCompile(`(?m)^plan: (sha256:[0-9a-f]{64})$`).FindStringSubmatch(o.stdout)
	if plan == nil {
		t.Fatalf("no plan: %s", o.stdout)
	}
	execute(t, env, "", "show", "worker/planned").want(t, cli.ExitFailure, "", "not found")
	args := []string{"run", "worker", "planned", "-S", "name~console*", "--plan", plan[1]}
	execute(t, env, "", args...).want(t, cli.ExitUsage, "", "not as planned")
	execute(t, env, "", append(args, "--limit", "50%")...).want(t, cli.ExitOK, "DONE: 1 ok", "")
	execute(t, env, "", append(args, "--limit", "50%")...).want(t, cli.ExitOK, "worker/planned exists already", "")
	o = execute(t, env, "", "run", "worker", "--all", "--dry-run", "--output", "json")
	var planned struct{ Count int }
	if err := json.Unmarshal([]byte(o.stdout), &planned); err != nil || planned.Count != 2 {
		t.Errorf("%v: %s", err, o.stdout)
	}
}

func TestRunLater(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	o := execute(t, env, "", "run", "worker", "-e", "console1", "--in", "1h", "--expires", "10m", "--detach")
	o.want(t, cli.ExitOK, " starts at ", "")
	name := taskName(t, o.stdout)
	execute(t, env, "", "show", name).want(t, cli.ExitOK, "SCHEDULED", "")
	execute(t, env, "", "list", "--status", "scheduled", "--output", "names").want(t, cli.ExitOK, name+"\n", "")
	execute(t, env, "", "cancel", name).want(t, cli.ExitOK, "CANCELED", "")
	o = execute(t, env, "", "run", "worker", "-e", "console1", "--at", "2020-01-01 03:30")
	o.want(t, cli.ExitOK, "DONE: 1 ok", "")
}

// TestRunTopic: while an older task of the topic has not ended a task is refused, or
// replaces it.
func TestRunTopic(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	run := func(identifier string, flags ...string) outcome {
		return execute(t, env, "", append([]string{"run", "worker", identifier, "-e", "nowhere", "--topic", "once", "--detach"}, flags...)...)
	}
	run("topic-older").want(t, cli.ExitOK, "worker/topic-older ", "")
	run("topic-refused").want(t, cli.ExitUsage, "", `topic "once" of task type "worker" has a task that has not ended: "topic-older"`)
	run("topic-newer", "--supersede").want(t, cli.ExitOK, "worker/topic-newer ", "")
	o := execute(t, env, "", "show", "worker/topic-older", "--exit-status")
	o.want(t, cli.ExitStopped, "CANCELED: 0 ok, 1 canceled", "")
	if !strings.Contains(o.stdout, "\ntopic     once\n") || !strings.Contains(o.stdout, " by worker/topic-newer\n") {
		t.Errorf("%s", o.stdout)
	}
	o = execute(t, env, "", "list", "--topic", "once", "--output", "names")
	o.want(t, cli.ExitOK, "worker/topic-newer\nworker/topic-older\n", "")
	execute(t, env, "", "cancel", "worker/topic-newer").want(t, cli.ExitOK, "CANCELED", "")
}

// TestRunPriority: the task has the priority of the flag, and is shown with it.
func TestRunPriority(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	o := execute(t, env, "", "run", "worker", "urgent", "-e", "console1", "--priority", "7")
	o.want(t, cli.ExitOK, "DONE: 1 ok", "")
	execute(t, env, "", "show", "worker/urgent").want(t, cli.ExitOK, "\npriority  7\n", "")
	execute(t, env, "", "show", "worker/urgent", "-e", "console1").want(t, cli.ExitOK, "console1 DONE\nattempt", "")
	// The flag counts, even with the default.
	execute(t, env, "", "run", "worker", "urgent", "-e", "console1").want(t, cli.ExitUsage, "", "urgent")
	o = execute(t, env, "", "run", "worker", "zero", "-e", "console1", "--priority", "0")
	o.want(t, cli.ExitOK, "DONE: 1 ok", "")
	execute(t, env, "", "run", "worker", "zero", "-e", "console1").want(t, cli.ExitUsage, "", "zero")
}

// TestRunLabels: the task has the labels of the flags, is shown with them, and found by
// them.
func TestRunLabels(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	o := execute(t, env, "", "run", "worker", "labeled", "-e", "console1", "--label", "ticket=CHG-7", "--label", "note=a, b=c")
	o.want(t, cli.ExitOK, "DONE: 1 ok", "")
	execute(t, env, "", "show", "worker/labeled").want(t, cli.ExitOK, "\nlabel     note=a, b=c\nlabel     ticket=CHG-7\n", "")
	for _, args := range [][]string{{"--label", "ticket=CHG-7"}, {"--label", "ticket"}, {"--label", "ticket", "--label", "note=a, b=c"}} {
		execute(t, env, "", append([]string{"list", "--output", "names"}, args...)...).want(t, cli.ExitOK, "worker/labeled\n", "")
	}
	execute(t, env, "", "list", "--label", "ticket", "--counts").want(t, cli.ExitOK, "STATUS  TASKS\nDONE    1\nall     1\n", "")
	execute(t, env, "", "list", "--label", "ticket", "--counts", "--output", "json").want(t, cli.ExitOK, `"total": 1,`, "")
	execute(t, env, "", "list", "--label", "ticket", "--counts", "--output", "csv").want(t, cli.ExitOK, "\nDONE,1,false\n", "")
	execute(t, env, "", "list", "--label", "none", "--counts").want(t, cli.ExitOK, "STATUS  TASKS\nall     0\n", "")
	execute(t, env, "", "list", "--counts", "--output", "names").want(t, cli.ExitUsage, "", "--counts")
	execute(t, env, "", "list", "--counts", "--limit", "5").want(t, cli.ExitUsage, "", "--counts has no --limit")
	execute(t, env, "", "list", "--label", "ticket=CHG-8").want(t, cli.ExitOK, "no tasks\n", "")
	execute(t, env, "", "list", "--label", "-x").want(t, cli.ExitUsage, "", "invalid label")
	for flags, want := range map[string]string{
		"--label ticket": "invalid --label", "--label a=1 --label a=2": "duplicate --label", "--label -a=1": "invalid label key",
	} {
		args := append([]string{"run", "worker", "wrong", "-e", "console1"}, strings.Fields(flags)...)
		execute(t, env, "", args...).want(t, cli.ExitUsage, "", want)
	}
}

// TestRunOutputs: json is the answer of the API, jsonl an object a line.
func TestRunOutputs(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	o := execute(t, env, "", "run", "worker", "-e", "console1", "--payload", `{"html":"<b>"}`, "--output", "json")
	var document struct {
		Task    struct{ Type, Identifier, Status string }
		Results []any `json:"taskResponseList"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &document); err != nil || document.Task.Status != "DONE" || len(document.Results) != 1 {
		t.Errorf("%v: %s", err, o.stdout)
	}
	name := document.Task.Type + "/" + document.Task.Identifier
	o.want(t, cli.ExitOK, `{"html":"<b>"}`, name+" sent to 1 endpoint\n")
	if again := execute(t, env, "", "show", name, "--output", "json"); again.stdout != o.stdout {
		t.Errorf("show: %s\nrun:  %s", again.stdout, o.stdout)
	}

	o = execute(t, env, "", "run", "backup", "-e", "console[1-2]", "--output", "jsonl", "--color", "always")
	kinds := map[string]int{}
	var last struct {
		Kind, Status string
		ExitCode     int `json:"exit_code"`
	}
	for i, line := range strings.Split(strings.TrimSpace(o.stdout), "\n") {
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if i == 0 && last.Kind != "accepted" {
			t.Errorf("the first line is %s", line)
		}
		kinds[last.Kind]++
	}
	if o.code != cli.ExitSomeFailed || last.Kind != "summary" || last.ExitCode != o.code || last.Status != "FAILED" || kinds["result"] < 2 {
		t.Errorf("exit code %d, %v\n%s", o.code, kinds, o.stdout)
	}
	if strings.Contains(o.stdout, "\x1b") || !strings.Contains(o.stderr, "\x1b[31mFAILED") {
		t.Errorf("colors: %q, %q", o.stdout, o.stderr)
	}
}

// TestColors: NO_COLOR and --color decide, and no terminal has none.
func TestColors(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	name := taskName(t, execute(t, env, "", "run", "worker", "-e", "console1").stdout)
	for want, variables := range map[bool][][]string{
		false: {{}, {"NO_COLOR=1", "CLICOLOR_FORCE=1"}, {"CLICOLOR_FORCE=0"}, {"TERM=xterm"}},
		true:  {{"CLICOLOR_FORCE=1"}, {"NO_COLOR=", "CLICOLOR_FORCE=1"}},
	} {
		for _, more := range variables {
			if o := execute(t, append(more, env...), "", "show", name); strings.Contains(o.stdout, "\x1b[32mDONE") != want {
				t.Errorf("%q: colored %t: %q", more, !want, o.stdout)
			}
		}
	}
	if o := execute(t, append(env, "NO_COLOR=1"), "", "show", name, "--color", "always"); !strings.Contains(o.stdout, "\x1b[32m") {
		t.Errorf("%q", o.stdout)
	}
	if o := execute(t, append(env, "CLICOLOR_FORCE=1"), "", "show", name, "--color", "never"); strings.Contains(o.stdout, "\x1b") {
		t.Errorf("%q", o.stdout)
	}
}

// TestInterrupt without a terminal: the command says how to come back.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		s := start(t, env, nil, nil, "run", "sleep", "-e", "console1", "seconds=1000", "--output", "jsonl")
		s.stdout.await(t, `"kind":"result"`)
		s.interrupt(&cli.Interrupted{Signal: signal})
		if got := <-s.code; got != code {
			t.Errorf("%s: exit code %d", signal, got)
		}
		name := regexp.MustCompile(`sleep/\w+`).FindString(s.stdout.String())
		if want := name + " goes on: tasker watch " + name + " comes back, tasker cancel " + name + " stops it\n"; s.stderr.String() != want {
			t.Errorf("stderr %s", s.stderr)
		}
		s = start(t, env, nil, nil, "watch", name, "--output", "jsonl", "--cancel-on-interrupt")
		s.stdout.await(t, `"kind":"result"`)
		s.interrupt(&cli.Interrupted{Signal: signal})
		if got := <-s.code; got != cli.ExitStopped {
			t.Errorf("%s: exit code %d\n%s", signal, got, s.stderr)
		}
		execute(t, env, "", "show", name).want(t, cli.ExitOK, "CANCELED", "")
	}
	s := start(t, env, nil, nil, "run", "sleep", "-e", "console1", "seconds=1000", "--output", "jsonl")
	s.stdout.await(t, `"kind":"result"`)
	s.interrupt(nil) // not a signal
	if got := <-s.code; got != cli.ExitFailure {
		t.Errorf("exit code %d", got)
	}
}

func TestFailFast(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	o := execute(t, env, "", "run", "backup", "-e", "console1", "-e", "ghost", "--fail-fast")
	o.want(t, cli.ExitSomeFailed, "1 failed", "the first failure: the task goes on")
}

// TestNamesPipe: the names of one command are the endpoints of another.
func TestNamesPipe(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	name := taskName(t, execute(t, env, "", "run", "backup", "-e", "console1", "-e", "console2,ghost").stdout)
	o := execute(t, env, "", "show", name, "--only", "failed", "--output", "names")
	o.want(t, cli.ExitOK, "console1\nconsole2\n", "")
	execute(t, env, o.stdout, "run", "worker", "-e", "-").want(t, cli.ExitOK, "DONE: 2 ok", "")
	execute(t, env, "", "show", name, "--only", "missing", "--output", "names").want(t, cli.ExitOK, "ghost\n", "")
	if o := execute(t, env, "", "show", name, "--only", "ok", "--output", "names"); o.stdout != "" {
		t.Errorf("got %q", o.stdout)
	}
	o = execute(t, env, "", "show", name, "--only", "failed,missing")
	o.want(t, cli.ExitOK, "ENDPOINT  STATE    ATTEMPT  ERRNR  ERRMSG             PAYLOAD\nconsole1  FAILED   1        32     could not backup!  -\n", "")
	o.want(t, cli.ExitOK, "ghost     missing", "")
	execute(t, env, "", "show", name, "--output", "csv").want(t, cli.ExitOK, "ENDPOINT,STATE,ATTEMPT,ERRNR,ERRMSG,PAYLOAD\nconsole1,FAILED,1,32,could not backup!,\n", "")
	execute(t, env, "", "show", name, "--only", "bad").want(t, cli.ExitUsage, "", `invalid --only "bad"`)
	execute(t, env, "", "show", name, "--output", "jsonl").want(t, cli.ExitOK, `{"endpoint":"ghost","kind":"missing"}`, "")
	execute(t, env, "", "show", name, "--only", "failed", "--output", "json").want(t, cli.ExitOK, `"missing": []`, "")
	o = execute(t, env, "", "show", name, "-e", "console1")
	o.want(t, cli.ExitOK, "console1 FAILED 32\nerror    could not backup!\nattempt  1 FAILED, began ", "")
	execute(t, env, "", "show", name, "-e", "console1", "--only", "ok").want(t, cli.ExitUsage, "", "exclude each other")
	execute(t, env, "", "show", name, "-e", "ghost").want(t, cli.ExitFailure, "", "ghost")
}

// TestLast: "-" is the last task that was run with the same API.
func TestLast(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	env := append(devAPI(t), "XDG_STATE_HOME="+state)
	execute(t, env, "", "show", "-").want(t, cli.ExitUsage, "", "unknown last task")
	first := taskName(t, execute(t, env, "", "run", "worker", "-e", "console1").stdout)
	second := taskName(t, execute(t, env, "", "run", "worker", "-e", "console2").stdout)
	execute(t, env, "", "show", "-").want(t, cli.ExitOK, second+"\n", "")
	execute(t, env, "", "watch", "-").want(t, cli.ExitOK, "DONE: 1 ok", "")
	execute(t, env, "", "cancel", "-").want(t, cli.ExitFailure, "", "ended")
	execute(t, append(env, "TASKER_API_URL=http://127.0.0.1:1"), "", "show", "-", "--api", "http://127.0.0.1:2").want(t, cli.ExitUsage, "", "unknown last task")
	for _, verb := range []string{"watch", "show", "logs", "cancel", "retry"} {
		execute(t, env, "", "__complete", verb, "").want(t, cli.ExitOK, second+"\n"+first+"\n:4\n", "")
	}
	for range 60 {
		execute(t, env, "", "run", "worker", "again", "-e", "console1", "--detach")
	}
	content, err := os.ReadFile(filepath.Join(state, "tasker", "tasks"))
	if err != nil || strings.Count(string(content), "\n") != 3 || !strings.HasSuffix(string(content), "\tworker/again\n") {
		t.Errorf("%v: %s", err, content)
	}
	// What cannot be written is no error.
	file := filepath.Join(state, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	execute(t, append(devAPI(t), "XDG_STATE_HOME="+file), "", "run", "worker", "-e", "console1").want(t, cli.ExitOK, "DONE: 1 ok", "")
}

func TestListAndTypes(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	execute(t, env, "", "run", "backup", "listed", "-e", "console1", "note=findme")
	o := execute(t, env, "", "list", "--type", "backup", "--text", "findme", "--since", "2h")
	o.want(t, cli.ExitOK, "TASK           STATUS  ENDPOINTS  STARTED", "")
	o.want(t, cli.ExitOK, "backup/listed  FAILED  1          2", "")
	execute(t, env, "", "list", "--type", "backup", "--identifier", "listed", "--output", "csv").want(t, cli.ExitOK, "TASK,STATUS,ENDPOINTS,STARTED,CHANGED\nbackup/listed,FAILED,1,", "")
	execute(t, env, "", "list", "--identifier", "listed", "--output", "jsonl").want(t, cli.ExitOK, `{"kind":"task","task":{`, "")
	execute(t, env, "", "list", "--identifier", "listed", "--output", "json").want(t, cli.ExitOK, `"identifier": "listed"`, "")
	execute(t, env, "", "list", "--identifier", "nobody").want(t, cli.ExitOK, "no tasks\n", "")
	execute(t, env, "", "list", "--identifier", "listed", "--created-since", "1h", "--created-until", "2100-01-01").want(t, cli.ExitOK, "backup/listed  FAILED", "")
	execute(t, env, "", "list", "--identifier", "listed", "--until", "1h").want(t, cli.ExitOK, "no tasks\n", "")
	execute(t, env, "", "list", "--type", "backup", "--since", "2000-01-01", "--endpoint", "console1", "--limit", "1").want(t, cli.ExitOK, "backup/", "")
	for args, want := range map[string]string{
		"--since x": "invalid --since", "--until x": "invalid --until", "--created-since x": "invalid --created-since", "--created-until -1h": "invalid --created-until",
		"--since 1h --until 2h": "until", "--limit 0": "invalid --limit", "--status nonsense": "status", "--type a/b": "type", "x": "unexpected argument",
	} {
		execute(t, env, "", append([]string{"list"}, strings.Fields(args)...)...).want(t, cli.ExitUsage, "", want)
	}
	execute(t, env, "", "types").want(t, cli.ExitOK, "worker  worker   An example: works for a while and succeeds.\n", "")
	execute(t, env, "", "types", "--output", "names").want(t, cli.ExitOK, "worker\nbackup\nsleep\n", "")
	execute(t, env, "", "types", "--output", "json").want(t, cli.ExitOK, `"name": "worker"`, "")
	o = execute(t, env, "", "types", "sleep")
	o.want(t, cli.ExitOK, "example      {\"seconds\":10}\n", "")
	o.want(t, cli.ExitOK, "endpoints    2 alive (console[1-2])\n", "")
	execute(t, env, "", "types", "nosuch").want(t, cli.ExitFailure, "", "not found")
	execute(t, env, "", "types", "a", "b").want(t, cli.ExitUsage, "", "one task type at most")
}

// TestCompletionOfTasks asks the API, and is silent if that is away.
func TestCompletionOfTasks(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	for args, want := range map[string]string{
		"run|":           "worker backup sleep :4",
		"run worker|":    ":4",
		"run worker -e|": "console1 console2 :4",
		"types|":         "worker backup sleep :4",
		"show --only|":   "failed missing unfinished ok RECEIVED RUNNING RETRYING LOST DONE FAILED TIMED_OUT CANCELED EXPIRED REJECTED SUPERSEDED :4",
		"show --output|": "text json jsonl names csv :4",
		"watch|":         ":4",
		"retry|":         ":4",
		"cancel|":        ":4",
	} {
		line := append([]string{"__complete"}, strings.Fields(strings.TrimSuffix(args, "|"))...)
		o := execute(t, env, "", append(line, "")...)
		if got := strings.Join(strings.Fields(o.stdout), " "); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
		o = execute(t, []string{"TASKER_API_URL=http://127.0.0.1:1"}, "", append(line, "")...)
		if o.code != cli.ExitOK || strings.Contains(o.stdout+o.stderr, "reach") {
			t.Errorf("%s: exit code %d: %s%s", args, o.code, o.stdout, o.stderr)
		}
	}
}

// TestClosedPipe: the reader of the output is gone.
func TestClosedPipe(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	for _, args := range []string{"run worker -e console1", "run worker -e console1 --output jsonl", "list", "types", "list --output names"} {
		var stderr bytes.Buffer
		code := cli.Execute(t.Context(), cli.Program{Args: strings.Fields(args), Environ: env, Stdout: brokenPipe{}, Stderr: &stderr})
		if code != cli.ExitFailure || !strings.Contains(stderr.String(), "write the output: broken pipe") {
			t.Errorf("%s: exit code %d, %s", args, code, stderr.String())
		}
	}
}

func TestHelpExitCodes(t *testing.T) {
	t.Parallel()
	execute(t, nil, "", "help", "exit-codes").want(t, cli.ExitOK, "  4    nobody knows of some endpoints", "")
	execute(t, nil, "", "--help").want(t, cli.ExitOK, `see "tasker help exit-codes"`, "")
}
