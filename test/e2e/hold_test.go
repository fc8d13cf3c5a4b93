package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// paused is an answer to a pause or a drain.
type paused struct {
	Running struct {
		Count     int
		Endpoints []string
		Tasks     []string
	}
	Held    int
	Changed bool
}

// hold sends a POST that pauses, drains or resumes.
func (s *system) hold(path, body string) (answer paused) {
	s.t.Helper()
	if code, _, err := s.request(http.MethodPost, path, body, &answer); err != nil || code != http.StatusOK {
		s.t.Fatalf("%s: %d, %v", path, code, err)
	}
	return answer
}

// An endpoint is drained while it runs a task, also while the broker is away and over a
// restart of its manager with kill -9; nothing starts there until it is resumed, and the
// other endpoint works on. Then the type is paused, and at last a task that is to start
// later.
func TestHold(t *testing.T) {
	t.Parallel()
	s := newSystem(t, `TASKER_TASK_TYPES=[{name: sleep, concurrency: 1}]`)
	s.api()
	first := s.manager("console1")
	s.manager("console2")
	s.accept("sleep", `{"identifier":"runs","payload":{"seconds":2},"endpoints":["console1"]}`)
	s.awaitFor("/sleep/runs", "console1 to run", func(a answer) bool { return a.state("console1") == "RUNNING" })
	o := s.hold("/v1/endpoints/console1/drain", `{"reason":"new disk"}`)
	if o.Running.Count != 1 || o.Running.Tasks[0] != "sleep/runs" {
		t.Errorf("%+v", o)
	}
	s.accept("sleep", `{"identifier":"waits","payload":{"seconds":0}}`)
	a := s.awaitFor("/sleep/waits", "one endpoint to wait", func(a answer) bool {
		return a.state("console1") == "RECEIVED" && a.state("console2") == "DONE"
	})
	if held := a.Summary.Held; held != 1 || a.Task.Status != "SENT" {
		t.Errorf("%d are held, %s", held, a.Task.Status)
	}
	s.await("/sleep/runs", "DONE")
	first.kill()
	s.manager("console1")
	s.broker.Cut()
	if o = s.hold("/v1/task-types/sleep/pause", `{"until":"1h"}`); o.Running.Count != 0 || o.Held != 1 {
		t.Errorf("%+v", o)
	}
	if o = s.hold("/v1/endpoints/console1/resume", ""); !o.Changed {
		t.Error("it was not drained any more")
	}
	s.broker.Restore()
	s.accept("sleep", `{"identifier":"later","payload":{"seconds":0}}`)
	a = s.awaitFor("/sleep/later", "both to wait", func(a answer) bool {
		return a.state("console1") == "RECEIVED" && a.state("console2") == "RECEIVED"
	})
	if a.Summary.Held != 2 {
		t.Errorf("%+v", a.Summary)
	}
	s.hold("/v1/task-types/sleep/resume", "")
	s.await("/sleep/waits", "DONE")
	s.await("/sleep/later", "DONE")

	s.accept("sleep", `{"identifier":"scheduled","payload":{"seconds":0},"in":"1h"}`)
	s.hold("/sleep/scheduled/pause", `{"until":"2h"}`)
	if code, _, err := s.request(http.MethodPatch, "/sleep/scheduled", `{"in":0}`, nil); err != nil || code != http.StatusOK {
		t.Fatal(code, err)
	}
	s.accept("sleep", `{"identifier":"last","payload":{"seconds":0},"in":"10ms"}`)
	s.await("/sleep/last", "DONE")
	if a = s.await("/sleep/scheduled", "SCHEDULED"); len(a.TaskResponseList) > 0 {
		t.Errorf("%+v", a)
	}
	s.hold("/sleep/scheduled/resume", "")
	s.await("/sleep/scheduled", "DONE")
}

// The commands pause and drain over the gateway of tasker dev.
func TestHoldCommands(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	base := "http://127.0.0.1:" + port
	env := []string{`TASKER_TASK_TYPES=[{name: sleep}]`, "TASKER_MANAGER_HEARTBEAT=300ms", "TASKER_MANAGER_LEASE=1500ms"}
	start(t, env, "dev", "--data", dir, "--port", port)
	until(t, "both endpoints to be alive", func() bool {
		var list struct{ Endpoints []struct{ Alive bool } }
		_, _, err := request(t, base, http.MethodGet, "/v1/endpoints", "", &list)
		return err == nil && len(list.Endpoints) == 2
	})
	command := func(want string, args ...string) {
		t.Helper()
		if code, out := run(t, nil, append(args, "--api", base)...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%v: exit %d: %s", args, code, out)
		}
	}
	look := func(identifier, states string) {
		t.Helper()
		until(t, identifier+" to be "+states, func() bool {
			var a answer
			_, _, err := request(t, base, http.MethodGet, "/sleep/"+identifier, "", &a)
			return err == nil && a.state("console1")+" "+a.state("console2") == states
		})
	}
	post := func(identifier string) {
		t.Helper()
		body := fmt.Sprintf(`{"identifier":%q,"payload":{"seconds":0}}`, identifier)
		if code, _, err := request(t, base, http.MethodPost, "/sleep", body, nil); err != nil || code != http.StatusCreated {
			t.Fatal(code, err)
		}
	}
	command("console1 is drained", "endpoints", "drain", "console1", "--reason", "new disk")
	post("one")
	look("one", "RECEIVED DONE")
	command("yes, drained", "endpoints", "list", "-S", "drained=true")
	command("sleep is paused", "pause", "sleep")
	command("not drained any more", "endpoints", "resume", "console1")
	post("two")
	look("two", "RECEIVED RECEIVED")
	command("sleep/one is paused", "pause", "sleep/one", "--until", "1h")
	command("sleep is not paused any more", "resume", "sleep")
	look("two", "DONE DONE")
	look("one", "RECEIVED DONE")
	command("sleep/one is not paused any more", "resume", "sleep/one")
	look("one", "DONE DONE")
}
