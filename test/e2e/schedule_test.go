package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// scheduled is a task with its times.
type scheduled struct {
	Task struct {
		Status   string
		Start    time.Time  `json:"start_time"`
		Accepted time.Time  `json:"accepted_time"`
		Sent     *time.Time `json:"sent_time"`
	}
	TaskResponseList []struct {
		Start time.Time `json:"start_time"`
	}
}

// A task that is to start later starts in another API process if the one that
// accepted it is gone, at its time and once.
func TestScheduled(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	first := s.api()
	other := *s
	port := freePort(t)
	other.base, other.env = "http://127.0.0.1:"+port, append(slices.Clone(s.env), "TASKER_API_PORT="+port)
	other.api()
	other.manager("console1")
	s.accept("worker", `{"identifier":"later","in":1}`)
	s.accept("worker", `{"identifier":"far","in":"1h"}`)
	first.kill()
	if code, _, err := other.request(http.MethodPatch, "/worker/far", `{"in":"500ms"}`, nil); code != http.StatusOK || err != nil {
		t.Fatalf("PATCH: %d, %v", code, err)
	}
	for _, identifier := range []string{"later", "far"} {
		path := "/worker/" + identifier
		other.await(path, "DONE")
		var got scheduled
		if _, _, err := other.request(http.MethodGet, path, "", &got); err != nil {
			t.Fatal(err)
		}
		const clockError = 100 * time.Millisecond
		early := got.Task.Start.Add(-clockError)
		if len(got.TaskResponseList) != 1 || got.Task.Sent == nil || got.Task.Sent.Before(early) || !got.Task.Accepted.Before(got.Task.Start) {
			t.Errorf("%s: %+v", path, got)
		}
		for _, r := range got.TaskResponseList {
			if r.Start.Before(early) {
				t.Errorf("%s was received at %s, before its time %s", path, r.Start, got.Task.Start)
			}
		}
	}
	if code, _, err := other.request(http.MethodPatch, "/worker/far", `{"in":"1h"}`, nil); code != http.StatusConflict || err != nil {
		t.Errorf("PATCH of a task that has started: %d, %v", code, err)
	}
}

// An endpoint that was away while a task expired does not run it, and the task has
// ended without it.
func TestExpired(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.api()
	away := s.manager("console1")
	s.manager("console2")
	away.kill()
	s.accept("worker", `{"identifier":"brief","expires":"1s","endpoints":["console1"]}`)
	s.accept("worker", `{"identifier":"all","expires":3}`)
	s.await("/worker/brief", "FAILED")
	s.await("/worker/all", "FAILED")
	s.manager("console1")
	s.accept("worker", `{"identifier":"after"}`)
	s.await("/worker/after", "DONE")
	a := s.await("/worker/brief", "FAILED")
	if r := a.TaskResponseList; len(r) != 1 || r[0].State != "EXPIRED" || r[0].Errnr != -4 || r[0].Attempt != 0 {
		t.Errorf("brief: %+v", a)
	}
	if a := s.await("/worker/all", "FAILED"); a.state("console1") != "EXPIRED" {
		t.Errorf("all: %+v", a)
	}
	var letters struct {
		Letters []any `json:"dead_letters"`
	}
	if _, _, err := s.request(http.MethodGet, "/v1/dead-letters", "", &letters); err != nil || len(letters.Letters) > 0 {
		t.Errorf("dead letters %v, %v", letters, err)
	}
}
