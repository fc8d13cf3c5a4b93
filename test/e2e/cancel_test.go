package e2e

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// leavingTwo is a program that starts two others, one of them by timeout, which go on by
// themselves, and writes their ids to the file that its argument names.
const leavingTwo = `#!/bin/sh
trap '' TERM
sleep 1000 &
echo $! > "$1.new"
timeout 1000 sleep 1000 &
echo $! >> "$1.new"
mv "$1.new" "$1"
wait
`

// pidsIn waits for the file of such a program, and returns the ids.
func pidsIn(t *testing.T, file string) (pids []int) {
	t.Helper()
	until(t, "the program to run", func() bool {
		content, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		for word := range strings.FieldsSeq(string(content)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		return true
	})
	return pids
}

// gone waits until processes have ended.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		until(t, "process "+strconv.Itoa(pid)+" to end", func() bool {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ") || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
		})
	}
}

// A program that is canceled ends with all that it started, also while the broker is
// away; at an endpoint whose manager was killed nothing runs again.
func TestCancel(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte(leavingTwo), 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, `TASKER_TASK_TYPES=[{name: program, handler: exec, settings: {command: ["`+program+`", "${file}"], `+
		`parameters: {file: {required: true, pattern: "/.+"}}}}]`)
	s.api()
	first := s.manager("console1")
	file := func(name string) string { return filepath.Join(t.TempDir(), name) }
	cancel := func(path string) (answer struct{ Stopped, Stopping, Unreachable struct{ Count int } }) {
		t.Helper()
		if code, _, err := s.request(http.MethodPost, path+"/cancel", `{"reason":"wrong file"}`, &answer); err != nil || code != http.StatusOK {
			t.Fatalf("cancel %s: %d, %v", path, code, err)
		}
		return answer
	}
	for name, during := range map[string]func() (after func()){
		"with a hint":        func() func() { return func() {} },
		"without the broker": func() func() { s.broker.Cut(); return s.broker.Restore },
	} {
		identifier := strings.ReplaceAll(name, " ", "-")
		pids := file(identifier)
		s.accept("program", `{"identifier":"`+identifier+`","payload":{"file":"`+pids+`"}}`)
		started := pidsIn(t, pids)
		after := during()
		if a := cancel("/program/" + identifier); a.Stopping.Count != 1 {
			t.Errorf("%s: %+v", name, a)
		}
		a := s.await("/program/"+identifier, "CANCELED")
		if r := a.TaskResponseList[0]; r.Errnr != -2 || !strings.Contains(*r.Errmsg, "canceled by anonymous: wrong file") {
			t.Errorf("%s: %+v", name, r)
		}
		gone(t, started)
		after()
	}

	pids := file("killed")
	s.accept("program", `{"identifier":"killed","payload":{"file":"`+pids+`"}}`)
	pidsIn(t, pids)
	first.kill()
	cancel("/program/killed")
	s.manager("console1")
	a := s.await("/program/killed", "CANCELED")
	if r := a.TaskResponseList[0]; r.Attempt != 1 || r.Errnr != -2 {
		t.Errorf("%+v", r)
	}
}

// The command cancels over the gateway of tasker dev, at one endpoint and at all.
func TestCancelCommand(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	base := "http://127.0.0.1:" + port
	env := []string{`TASKER_TASK_TYPES=[{name: sleep, concurrency: 1}]`, "TASKER_MANAGER_HEARTBEAT=300ms", "TASKER_MANAGER_LEASE=1500ms"}
	start(t, env, "dev", "--data", dir, "--port", port)
	look := func(what string, holds func(a answer) bool) {
		t.Helper()
		until(t, what, func() bool {
			var a answer
			code, _, err := request(t, base, http.MethodGet, "/sleep/one", "", &a)
			return err == nil && code == http.StatusOK && holds(a)
		})
	}
	until(t, "the task to be accepted for both", func() bool {
		var list struct{ Endpoints []struct{ Alive bool } }
		if _, _, err := request(t, base, http.MethodGet, "/v1/endpoints", "", &list); err != nil || len(list.Endpoints) != 2 {
			return false
		}
		code, _, err := request(t, base, http.MethodPost, "/sleep", `{"identifier":"one","payload":{"seconds":3600}}`, nil)
		return err == nil && code == http.StatusCreated
	})
	look("both to run", func(a answer) bool { return a.state("console1") == "RUNNING" && a.state("console2") == "RUNNING" })
	if code, out := run(t, nil, "cancel", "sleep/one", "-e", "console1", "--api", base); code != 0 || !strings.Contains(out, "1 (console1)") {
		t.Errorf("exit %d: %s", code, out)
	}
	look("one to stop", func(a answer) bool { return a.state("console1") == "CANCELED" && a.state("console2") == "RUNNING" })
	if code, out := run(t, nil, "cancel", "sleep/one", "--api", base); code != 0 || !strings.Contains(out, "console2") {
		t.Errorf("exit %d: %s", code, out)
	}
	look("the task to end", func(a answer) bool { return a.Task.Status == "CANCELED" })
	if code, out := run(t, nil, "cancel", "sleep/none", "--api", base); code != 1 {
		t.Errorf("exit %d: %s", code, out)
	}
}
