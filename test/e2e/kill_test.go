package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestKilledManager(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.api()
	first := s.manager("console1")
	s.accept("sleep", `{"identifier":"long","payload":{"seconds":3600}}`)
	s.awaitFor("/sleep/long", "run", func(a answer) bool { return a.state("console1") == "RUNNING" })
	s.accept("sleep", `{"identifier":"second","payload":{"seconds":3600}}`)
	s.awaitFor("/sleep/second", "run", func(a answer) bool { return a.state("console1") == "RUNNING" })
	s.accept("sleep", `{"identifier":"waits","payload":{"seconds":0}}`)
	s.awaitFor("/sleep/waits", "be received", func(a answer) bool { return a.state("console1") == "RECEIVED" })
	first.kill()
	s.accept("sleep", `{"identifier":"meanwhile","payload":{"seconds":0}}`)
	s.manager("console1")
	for _, path := range []string{"/sleep/long", "/sleep/second"} {
		a := s.await(path, "FAILED")
		if r := a.TaskResponseList[0]; r.Errnr != -6 || r.Attempt != 1 || !strings.Contains(*r.Errmsg, "interrupted") {
			t.Errorf("%s: %+v", path, r)
		}
	}
	s.await("/sleep/waits", "DONE")
	s.await("/sleep/meanwhile", "DONE")
}

func TestLostAndBack(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "TASKER_RECONCILE_LOST_AFTER=2s")
	s.api()
	p := s.manager("console1")
	s.accept("sleep", `{"identifier":"long","payload":{"seconds":3600}}`)
	s.awaitFor("/sleep/long", "run", func(a answer) bool { return a.state("console1") == "RUNNING" })
	p.kill()
	a := s.await("/sleep/long", "INCOMPLETE")
	if r := a.TaskResponseList[0]; r.State != "LOST" || r.Errnr != -3 || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
	s.manager("console1")
	s.await("/sleep/long", "FAILED")
}

// APIs and managers are killed at random moments under load, and restarted.
// Every accepted task ends as it should, and no handler starts twice for the
// same attempt.
func TestKillsUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		tasks = 150
		kills = 12
	)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSystem(t, fastTypes[:len("TASKER_TASK_TYPES=")]+`[{name: sleep, concurrency: 4, retry: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]}]`)
	roles := map[string]func() *process{
		"api":      s.api,
		"console1": func() *process { return start(t, s.env, "manager", "--endpoint", "console1") },
		"console2": func() *process { return start(t, s.env, "manager", "--endpoint", "console2") },
	}
	running := map[string]*process{"api": s.api(), "console1": s.manager("console1"), "console2": s.manager("console2")}
	var all []*process
	for _, p := range running {
		all = append(all, p)
	}

	var posting sync.WaitGroup
	posting.Go(func() {
		for i := range tasks {
			body := fmt.Sprintf(`{"identifier":"t%d","payload":{"seconds":0.05}}`, i)
			if i%2 == 0 {
				body = fmt.Sprintf(`{"identifier":"t%d","payload":{"seconds":0.05},"endpoints":["console1","console2"]}`, i)
			}
			deadline := time.Now().Add(5 * time.Minute)
			for {
				code, _, err := s.request(http.MethodPost, "/sleep", body, nil)
				if err == nil && (code == http.StatusCreated || code == http.StatusOK) {
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("task %d not accepted: %d, %v", i, code, err)
					return
				}
			}
		}
	})
	names := []string{"api", "console1", "console2"}
	for range kills {
		name := names[random.IntN(len(names))]
		select {
		case <-time.After(time.Duration(random.IntN(600)) * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the test was canceled")
		}
		running[name].kill()
		running[name] = roles[name]()
		all = append(all, running[name])
	}
	posting.Wait()

	runs := map[string]int{}
	for i := range tasks {
		a := s.await(fmt.Sprintf("/sleep/t%d", i), "DONE")
		if len(a.TaskResponseList) != 2 || a.state("console1") != "DONE" || a.state("console2") != "DONE" {
			t.Errorf("t%d: %+v", i, a)
		}
		for _, r := range a.TaskResponseList {
			runs[fmt.Sprint(a.Task.ID, r.Endpoint, r.Attempt)] = 0
		}
	}
	for _, p := range all {
		p.mu.Lock()
		for _, line := range p.logs {
			if line.Msg == "handler started" {
				runs[fmt.Sprint(line.TaskID, line.Endpoint, line.Attempt)]++
			}
		}
		p.mu.Unlock()
	}
	for run, n := range runs {
		// The log may lack an attempt that was cut off by a kill.
		if n > 1 {
			t.Errorf("handler started %d times for task, endpoint, attempt %s", n, run)
		}
	}
}

// A killed tasker dev has its accepted tasks when it starts again.
func TestKilledDev(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	base := "http://127.0.0.1:" + port
	env := []string{`TASKER_TASK_TYPES=[{name: sleep, concurrency: 1}]`, "TASKER_MANAGER_HEARTBEAT=300ms", "TASKER_MANAGER_LEASE=1500ms"}
	dev := func() *process {
		p := start(t, env, "dev", "--data", dir, "--port", port)
		until(t, "the endpoints to be registered", func() bool {
			var list struct{ Endpoints []struct{ PID int } }
			_, _, err := request(t, base, http.MethodGet, "/v1/endpoints", "", &list)
			return err == nil && len(list.Endpoints) == 2 && list.Endpoints[0].PID == p.cmd.Process.Pid && list.Endpoints[1].PID == p.cmd.Process.Pid
		})
		return p
	}
	status := func(identifier, want string) {
		t.Helper()
		until(t, identifier+" to be "+want, func() bool {
			var a answer
			_, _, err := request(t, base, http.MethodGet, "/sleep/"+identifier, "", &a)
			return err == nil && a.Task.Status == want
		})
	}
	p := dev()
	if !strings.Contains(p.output(), "curl") {
		t.Errorf("no curl command in the greeting:\n%s", p.output())
	}
	for i, seconds := range []float64{3600, 0, 0, 0} {
		body := fmt.Sprintf(`{"identifier":"t%d","payload":{"seconds":%v}}`, i, seconds)
		if code, _, err := request(t, base, http.MethodPost, "/sleep", body, nil); err != nil || code != http.StatusCreated {
			t.Fatalf("POST: %d, %v", code, err)
		}
	}
	until(t, "the first to run", func() bool {
		var a answer
		_, _, err := request(t, base, http.MethodGet, "/sleep/t0", "", &a)
		return err == nil && a.state("console1") == "RUNNING" && a.state("console2") == "RUNNING"
	})
	p.kill()
	dev()
	status("t0", "FAILED")
	for _, identifier := range []string{"t1", "t2", "t3"} {
		status(identifier, "DONE")
	}
	if _, err := os.Stat(filepath.Join(dir, "tasker.db")); err != nil {
		t.Error(err)
	}
}
