package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// An endpoint that was killed while several tasks of a topic came runs the newest alone
// when it is back, and one that runs an older one ends it.
func TestSupersede(t *testing.T) {
	t.Parallel()
	s := newSystem(t, `TASKER_TASK_TYPES=[{name: sleep, concurrency: 1}]`)
	s.api()
	s.manager("console1")
	away := s.manager("console2")
	away.kill()
	post := func(identifier, seconds string) {
		t.Helper()
		s.accept("sleep", `{"identifier":"`+identifier+`","payload":{"seconds":`+seconds+`},"topic":"nightly","on_conflict":"supersede"}`)
	}
	post("runs", "3")
	s.awaitFor("/sleep/runs", "console1 to run", func(a answer) bool { return a.state("console1") == "RUNNING" })
	for _, identifier := range []string{"day1", "day2"} {
		post(identifier, "0")
		s.awaitFor("/sleep/"+identifier, "console1 to have it", func(a answer) bool { return a.state("console1") == "RECEIVED" })
	}
	post("newest", "0")
	for _, identifier := range []string{"day1", "day2"} {
		a := s.await("/sleep/"+identifier, "CANCELED")
		if a.state("console1") != "SUPERSEDED" || a.state("console2") != "SUPERSEDED" {
			t.Errorf("%s: %+v", identifier, a.TaskResponseList)
		}
	}
	code, status := s.post("sleep", `{"identifier":"refused","payload":{"seconds":0},"topic":"nightly"}`)
	if code != http.StatusConflict {
		t.Errorf("one that is to be refused: %d, %s", code, status)
	}
	s.manager("console2")
	s.await("/sleep/newest", "DONE")
	a := s.await("/sleep/runs", "CANCELED")
	if a.state("console1") != "DONE" || a.state("console2") != "SUPERSEDED" {
		t.Errorf("what ran: %+v", a.TaskResponseList)
	}
	for _, r := range a.TaskResponseList {
		if r.Endpoint == "console2" && (r.Errnr != -9 || r.Attempt != 0 || !strings.Contains(*r.Errmsg, "superseded by task day1")) {
			t.Errorf("%+v", r)
		}
	}
	for _, identifier := range []string{"day1", "day2"} {
		for _, r := range s.await("/sleep/"+identifier, "CANCELED").TaskResponseList {
			if r.State != "SUPERSEDED" || r.Attempt != 0 {
				t.Errorf("%s: %+v", identifier, r)
			}
		}
	}
}
