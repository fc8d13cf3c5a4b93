package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	domain "github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/client"
)

// fakeTask is an API with one task, worker/a, as the test wants it.
type fakeTask struct {
	status  domain.TaskStatus
	summary domain.Summary
	groups  string // JSON of the groups
	events  string // what the stream sends
	results string // JSON of taskResponseList
	payload string // of each result
	log     []string
	streams atomic.Int64
}

func (f *fakeTask) serve(t *testing.T) []string {
	t.Helper()
	mux := http.NewServeMux()
	task := func() string {
		return fmt.Sprintf(`{"id":1,"type":"worker","identifier":"a","status":%q,"endpoints":null,"start_time":"2026-05-06T01:14:24Z","last_modified_time":"2026-05-06T01:14:24Z","new":{"x":1}}`, f.status)
	}
	summary := func() string {
		encoded, _ := json.Marshal(f.summary)
		return string(encoded)
	}
	answer := func(pattern, body string, more ...func() string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			var values []any
			for _, m := range more {
				values = append(values, m())
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, body, values...)
		})
	}
	answer("GET /worker/a", `{"task":%s,"taskResponseList":[%s],"summary":%s,"newer":true}`, task, func() string { return f.results }, summary)
	answer("GET /worker/a/summary", `{"task":%s,"summary":%s}`, task, summary)
	answer("GET /worker/a/groups", `{"task":%s,"expected":%s,"received":1,"groups":[%s],"other":[],"missing":{"count":0,"names":[]}}`, task,
		func() string { return fmt.Sprint(f.summary.Expected) }, func() string { return f.groups })
	answer("GET /worker/a/results/{endpoint}", `{"result":{"endpoint":"web1","state":"DONE","payload":%s},"attempts":[]}`, func() string { return f.payload })
	mux.HandleFunc("GET /worker/a/results/web1/log", func(w http.ResponseWriter, r *http.Request) {
		at := len(f.log) // the last part again
		_, _ = fmt.Sscan(r.FormValue("offset"), &at)
		if r.FormValue("offset") == "" {
			at = 0
		}
		if at < len(f.log) {
			_, _ = fmt.Fprintf(w, `{"attempt":1,"lines":[%s],"next":%d,"totals":{"complete":false}}`, f.log[at], at+1)
			return
		}
		_, _ = fmt.Fprintf(w, `{"attempt":1,"lines":[],"next":%d,"totals":{"complete":true}}`, at)
	})
	mux.HandleFunc("GET /worker/a/events", func(w http.ResponseWriter, _ *http.Request) {
		if f.streams.Add(1) > 1 {
			w.Header().Set("Retry-After", "0")
			problem(w, http.StatusServiceUnavailable, domain.Unavailable, "database down")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, f.events)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return []string{"TASKER_API_URL=" + server.URL}
}

func event(name, data string) string {
	return "event: " + name + "\nid: 1-0\ndata: " + data + "\n\n"
}

// TestHeld: a task that waits for a person, as an API of a newer release says it.
func TestHeld(t *testing.T) {
	t.Parallel()
	f := &fakeTask{status: "HALTED", summary: domain.Summary{Expected: 3, Received: 1, Finished: 1, Failed: 1}}
	f.events = event("snapshot", `{"task":{"status":"HALTED"},"taskResponseList":[],"summary":{"expected":3}}`)
	env := f.serve(t)
	execute(t, env, "", "show", "worker/a", "--exit-status").want(t, cli.ExitHeld, "HALTED: 0 ok, 1 failed, 2 missing\n", "")
	execute(t, env, "", "watch", "worker/a", "--wait", "1ms").want(t, cli.ExitHeld, "HALTED", "")
}

// TestPaused ends a watch, once nothing runs, and resuming is what helps.
func TestPaused(t *testing.T) {
	t.Parallel()
	env := devAPI(t)
	execute(t, env, "", "run", "worker", "paused", "-e", "console1", "--in", "1h", "--detach").want(t, cli.ExitOK, "starts at", "")
	execute(t, env, "", "pause", "worker/paused", "--reason", "not yet").want(t, cli.ExitOK, "", "")
	o := execute(t, env, "", "watch", "worker/paused")
	o.want(t, cli.ExitHeld, "SCHEDULED: ", "paused by anonymous: not yet; tasker resume worker/paused\n")
	execute(t, env, "", "show", "worker/paused", "--exit-status").want(t, cli.ExitHeld, "paused    2", "")
	execute(t, env, "", "resume", "worker/paused").want(t, cli.ExitOK, "", "")
	execute(t, env, "", "show", "worker/paused", "--exit-status").want(t, cli.ExitUnaccounted, "SCHEDULED", "")
	execute(t, env, "", "cancel", "worker/paused").want(t, cli.ExitOK, "CANCELED", "")
}

// TestWatchANewerAPI: events, states and fields that this program does not know.
func TestWatchANewerAPI(t *testing.T) {
	t.Parallel()
	f := &fakeTask{status: domain.Done, summary: domain.Summary{Expected: 1, Received: 1, Finished: 1}, payload: "null"}
	f.groups = `{"hash":"1","state":"NEW_STATE","errnr":0,"errmsg":null,"endpoint":"web1","count":1,"names":["web1"],"new":1}`
	f.events = event("snapshot", `{"task":{"status":"NEW_STATUS"},"taskResponseList":[{"endpoint":"web1","state":"NEW_STATE","x":1}],"summary":{"expected":1,"more":[1]}}`) +
		event("wave", `{"n":1}`) + event("result", `{"endpoint":"web1","state":"NEW_STATE2","errnr":7}`) +
		event("task", `{"task":{"status":"DONE"},"summary":{"expected":1,"received":1,"finished":1}}`)
	env := f.serve(t)
	execute(t, env, "", "watch", "worker/a").want(t, cli.ExitOK, "  1  NEW_STATE  web1\nDONE: 1 ok\n", "")
	execute(t, env, "", "show", "worker/a", "--output", "json").want(t, cli.ExitOK, `"new":{"x":1}},"taskResponseList":[],`, "")
	execute(t, env, "", "show", "worker/a", "--output", "json").want(t, cli.ExitOK, `"newer":true}`+"\n", "")
}

// TestLostSight of a task since the API stays away.
func TestLostSight(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]string{"text": "", "jsonl": `{"kind":"error","message":"`} {
		f := &fakeTask{status: domain.Sent}
		f.events = event("snapshot", `{"task":{"status":"SENT"},"taskResponseList":[],"summary":{"expected":1}}`)
		env := f.serve(t)
		o := execute(t, env, "", "watch", "worker/a", "--reconnect", "1ns", "--output", output)
		o.want(t, cli.ExitFailure, want, "lost sight of worker/a: ")
		o.want(t, cli.ExitFailure, want, "it may go on: tasker watch worker/a\n")
	}
}

// TestProxyInFront answers HTML.
func TestProxyInFront(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "<!DOCTYPE html><html>\x1b[2JWelcome</html>")
	}))
	t.Cleanup(server.Close)
	env := []string{"TASKER_API_URL=" + server.URL}
	for _, args := range []string{"run worker --all --yes", "watch worker/a", "show worker/a", "show worker/a --output json", "logs worker/a -e b", "list", "types"} {
		execute(t, env, "", strings.Fields(args)...).want(t, cli.ExitFailure, "", "unexpected web page at http://127.0.0.1:")
	}
}

// TestWatchOfALargeTask shows numbers, and a bounded number of failures.
func TestWatchOfALargeTask(t *testing.T) {
	t.Parallel()
	const n = 10_000
	var events strings.Builder
	events.WriteString(event("snapshot", fmt.Sprintf(`{"task":{"status":"SENT"},"taskResponseList":[],"summary":{"expected":%d},"results_left_out":0}`, n)))
	for i := range n {
		events.WriteString(event("result", fmt.Sprintf(`{"endpoint":"web%05d","state":"FAILED","errnr":2,"errmsg":"no space on web%05[1]d","attempt":1}`, i)))
	}
	events.WriteString(event("left_out", `{"changes":4}`))
	events.WriteString(event("task", fmt.Sprintf(`{"task":{"status":"FAILED"},"summary":{"expected":%d,"received":%[1]d,"finished":%[1]d,"failed":%[1]d}}`, n)))
	f := &fakeTask{status: domain.Failed, summary: domain.Summary{Expected: n, Received: n, Finished: n, Failed: n}, events: events.String()}
	f.groups = fmt.Sprintf(`{"hash":"1","state":"FAILED","errnr":2,"errmsg":"no space on web00000","endpoint":"web00000","count":%d,"names":["web[00000-09999]"]}`, n)
	o := execute(t, f.serve(t), "", "watch", "worker/a")
	o.want(t, cli.ExitSomeFailed, "\n  10000  FAILED 2  no space on web00000  web[00000-09999]\nFAILED: 0 ok, 10000 failed\n", "... and 9997 more like web00000\n... and 4 changes")
	if lines := strings.Count(o.stderr, "\n"); lines > 10 {
		t.Errorf("%d lines: %.2000s", lines, o.stderr)
	}
}

// TestHostileOutput: control characters, what is not UTF-8, and 10 MB.
func TestHostileOutput(t *testing.T) {
	t.Parallel()
	huge, err := json.Marshal(hostile + strings.Repeat("x", 2<<20) + hostile)
	if err != nil {
		t.Fatal(err)
	}
	raw := `"` + "\u009b2J \xff\xfe" + strings.Repeat("x", 100) + `"`
	for name, payload := range map[string]string{"huge": string(huge), "raw": raw} {
		quoted, _ := json.Marshal(hostile)
		f := &fakeTask{
			status: domain.Failed, summary: domain.Summary{Expected: 2, Received: 2, Finished: 2, Failed: 1}, payload: payload,
			groups: fmt.Sprintf(`{"hash":"1","state":%s,"errnr":2,"errmsg":%[1]s,"endpoint":"web1","count":1,"names":[%[1]s]},`+
				`{"hash":"2","state":"DONE","errnr":0,"errmsg":null,"endpoint":"web1","count":1,"names":["web1"]}`, quoted),
			results: fmt.Sprintf(`{"endpoint":%s,"state":%[1]s,"errmsg":%[1]s,"payload":%s}`, quoted, payload),
			log:     []string{fmt.Sprintf(`{"n":0,"text":%s}`, quoted), `{"n":1,"left_out":7}`, fmt.Sprintf(`{"n":8,"text":%s}`, payload)},
		}
		f.events = event("snapshot", fmt.Sprintf(`{"task":{"status":%s},"taskResponseList":[{"endpoint":%[1]s,"state":"FAILED","errmsg":%[1]s,"payload":1}],"summary":{"expected":2}}`, quoted)) +
			event("log", fmt.Sprintf(`{"endpoint":%s,"attempt":1,"lines":[{"n":0,"text":%[1]s}]}`, quoted)) +
			event("task", `{"task":{"status":"FAILED"},"summary":{}}`)
		env := f.serve(t)
		for _, args := range []string{
			"watch worker/a", "show worker/a", "show worker/a -e web1", "show worker/a -e web1 --output json", "show worker/a --output json",
			"logs worker/a -e web1", "logs worker/a -e web1 --output jsonl",
		} {
			o := execute(t, env, "", strings.Fields(args)...)
			if out := o.stdout + o.stderr; strings.ContainsFunc(out, steers) || !utf8.ValidString(out) || o.stdout == "" {
				t.Errorf("%s, %s: exit code %d, %.300q", name, args, o.code, out)
			}
			if len(o.stdout) > 1<<20 && (args == "watch worker/a" || args == "show worker/a") {
				t.Errorf("%s, %s: %d bytes", name, args, len(o.stdout))
			}
		}
		f.streams.Store(0)
		o := execute(t, env, "", "watch", "worker/a", "--output", "jsonl")
		if strings.ContainsFunc(o.stdout, steers) || !strings.Contains(o.stdout, "PWNED") {
			t.Errorf("%s: %.300q", name, o.stdout)
		}
	}
}

// TestNothingIsLostAfterTheEnd: the API closes the stream of a task that has ended.
func TestNothingIsLostAfterTheEnd(t *testing.T) {
	t.Parallel()
	f := &fakeTask{status: domain.Done, summary: domain.Summary{Expected: 1, Received: 1, Finished: 1}, payload: "null"}
	f.events = event("task", `{"task":{"status":"DONE"},"summary":{"expected":1,"received":1,"finished":1}}`)
	env := f.serve(t)
	for range 50 {
		f.streams.Store(0)
		if o := execute(t, env, "", "watch", "worker/a", "--output", "jsonl"); strings.Contains(o.stderr, "lost") {
			t.Fatalf("exit code %d, %s", o.code, o.stderr)
		}
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	f := &fakeTask{payload: "null", log: []string{`{"n":0,"text":"one\u001b[2J"},{"n":1,"text":"two"}`, `{"n":2,"left_out":7}`}}
	env := f.serve(t)
	const lines = "one\\u001b[2J\ntwo\n... 7 lines left out\n"
	for _, more := range []string{"", " --follow", " --attempt 1 --follow"} {
		if o := execute(t, env, "", strings.Fields("logs worker/a -e web1"+more)...); o.code != 0 || o.stdout != lines {
			t.Errorf("%s: exit code %d, %q%s", more, o.code, o.stdout, o.stderr)
		}
	}
	execute(t, env, "", "logs", "worker/a", "-e", "web1", "--raw").want(t, cli.ExitOK, "one\x1b[2J\ntwo\n", "")
	execute(t, env, "", "logs", "worker/a", "-e", "web1", "--output", "jsonl").want(t, cli.ExitOK, `{"attempt":1,"endpoint":"web1","kind":"log","line":{"n":0,`, "")
	execute(t, env, "", "logs", "worker/a").want(t, cli.ExitUsage, "", "missing --endpoint")
	execute(t, env, "", "logs", "worker/a", "-e", "a/b").want(t, cli.ExitUsage, "", "invalid endpoint")
	execute(t, env, "", "logs", "worker/a", "-e", "a", "--attempt", "-1").want(t, cli.ExitUsage, "", "invalid --attempt")
	execute(t, env, "", "logs", "-e", "a").want(t, cli.ExitUsage, "", "takes one task")
}

// TestStoppedWatchOfADeletedTask: it is gone when its outcomes are read.
func TestStoppedWatchOfADeletedTask(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			_, _ = fmt.Fprint(w, event("end", `{"status":"DONE","deleted":true}`))
			return
		}
		problem(w, http.StatusNotFound, domain.NotFound, `task "a" not found`)
	}))
	t.Cleanup(server.Close)
	execute(t, []string{"TASKER_API_URL=" + server.URL}, "", "watch", "worker/a").want(t, cli.ExitFailure, "", `tasker: task "a" not found`+"\n")
}

// TestUnknownAfterAPOST: the answer was lost, so the task may exist.
func TestUnknownAfterAPOST(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("dry_run") == "true" {
			_ = json.NewEncoder(w).Encode(client.Plan{Type: "worker", Count: 1, Endpoints: []string{"a"}})
			return
		}
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(server.Close)
	o := execute(t, []string{"TASKER_API_URL=" + server.URL}, "", "run", "worker", "my-id", "-e", "a")
	o.want(t, cli.ExitFailure, "", "the same command with the identifier my-id repeats it safely, and \"tasker show worker/my-id\" looks for it\n")
}
