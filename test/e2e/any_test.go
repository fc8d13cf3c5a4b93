package e2e

import (
	"fmt"
	"testing"
)

// Each of 200 tasks for any endpoint runs once, at one of four endpoints, two of which store
// at a gateway, and not all at the same one.
func TestAnyEndpoint(t *testing.T) {
	t.Parallel()
	f := newGuests(t, `TASKER_TASK_TYPES=[{name: sleep, concurrency: 2}]`)
	f.api()
	for _, name := range []string{"console1", "console2"} {
		f.manager(name)
	}
	for _, name := range []string{"guest1", "guest2"} {
		f.issue(name, "add")
		f.over(name)
	}
	const tasks = 200
	for i := range tasks {
		f.accept("sleep", fmt.Sprintf(`{"identifier":"any-%d","payload":{"seconds":0.02},"deliver":"any"}`, i))
	}
	shares := map[string]int{}
	for i := range tasks {
		a := f.await(fmt.Sprintf("/sleep/any-%d", i), "DONE")
		if len(a.TaskResponseList) != 1 || a.TaskResponseList[0].Attempt != 1 || a.Summary.Expected != 1 {
			t.Errorf("any-%d: %+v", i, a)
			continue
		}
		shares[a.TaskResponseList[0].Endpoint]++
	}
	if len(shares) < 2 { // how many each takes depends on the machine
		t.Errorf("they ran at %v", shares)
	}
	f.accept("sleep", `{"identifier":"three","payload":{"seconds":0},"deliver":{"any":3},"endpoints":["console1","guest1","guest2"]}`)
	if a := f.await("/sleep/three", "DONE"); len(a.TaskResponseList) != 3 || a.state("console2") != "" {
		t.Errorf("%+v", a)
	}
}

// A manager is killed while it runs a task for any endpoint that may be tried again: another
// one runs it, and the first one does not when it is back.
func TestAnyEndpointPassedOn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, `TASKER_TASK_TYPES=[{name: sleep, retry: [1]}]`, "TASKER_RECONCILE_LOST_AFTER=2s")
	s.api()
	first := s.manager("console1")
	s.accept("sleep", `{"identifier":"one","payload":{"seconds":3600},"deliver":"any"}`)
	s.awaitFor("/sleep/one", "run", func(a answer) bool { return a.state("console1") == "RUNNING" })
	first.kill()
	s.manager("console2")
	s.awaitFor("/sleep/one", "run at console2", func(a answer) bool { return a.state("console2") == "RUNNING" })
	s.manager("console1")
	s.accept("sleep", `{"identifier":"two","payload":{"seconds":0},"endpoints":["console1"]}`)
	s.await("/sleep/two", "DONE")            // it is back, and works
	a := s.await("/sleep/one", "INCOMPLETE") // as it was when console1 was lost
	if a.state("console1") != "CANCELED" || a.state("console2") != "RUNNING" || a.Summary.Expected != 1 {
		t.Errorf("%+v", a)
	}
}

// A manager is killed while it runs tasks for any endpoint. Nobody else runs these; the
// others go to those that are left.
func TestAnyEndpointKilled(t *testing.T) {
	t.Parallel()
	s := newSystem(t, `TASKER_TASK_TYPES=[{name: sleep, concurrency: 2}]`, "TASKER_RECONCILE_LOST_AFTER=2s")
	s.api()
	first := s.manager("console1")
	for _, name := range []string{"one", "two"} {
		s.accept("sleep", fmt.Sprintf(`{"identifier":%q,"payload":{"seconds":3600},"deliver":"any"}`, name))
		s.awaitFor("/sleep/"+name, "run", func(a answer) bool { return a.state("console1") == "RUNNING" })
	}
	for i := range 10 { // no slot is free for them
		s.accept("sleep", fmt.Sprintf(`{"identifier":"waits-%d","payload":{"seconds":0},"deliver":"any"}`, i))
	}
	first.kill()
	s.manager("console2")
	for i := range 10 {
		a := s.await(fmt.Sprintf("/sleep/waits-%d", i), "DONE")
		if len(a.TaskResponseList) != 1 || a.state("console2") != "DONE" {
			t.Errorf("waits-%d: %+v", i, a)
		}
	}
	for _, path := range []string{"/sleep/one", "/sleep/two"} {
		if a := s.await(path, "INCOMPLETE"); len(a.TaskResponseList) != 1 || a.state("console1") != "LOST" {
			t.Errorf("%s: %+v", path, a)
		}
	}
	s.manager("console1")
	for _, path := range []string{"/sleep/one", "/sleep/two"} {
		if a := s.await(path, "FAILED"); len(a.TaskResponseList) != 1 || a.TaskResponseList[0].Errnr != -6 {
			t.Errorf("%s: %+v", path, a)
		}
	}
}
