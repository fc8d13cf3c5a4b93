package proc

import (
	"context"
	"io"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// TestEndOfContextEndsTheSession: everything ends with the program, even if it ignores
// TERM, and even in its own process group, as under timeout and a shell with job
// control.
func TestEndOfContextEndsTheSession(t *testing.T) {
	t.Parallel()
	const loop = `trap "" TERM; echo $$; while :; do sleep 0.1; done`
	for name, script := range map[string]string{
		"group":   `trap '' TERM; echo $$; sh -c '` + loop + `' & while :; do sleep 0.1; done`,
		"timeout": `echo $$; timeout 1000 sh -c '` + loop + `'`,
		"set -m":  `echo $$; exec bash -c 'set -m; sh -c '\''` + loop + `'\'' & wait'`,
		"stopped": `echo $$; timeout 1000 sh -c 'echo $$; kill -STOP $$; sleep 1000'`,
	} {
		if _, err := exec.LookPath("bash"); name == "set -m" && err != nil {
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, w := io.Pipe()
		p, err := Start(ctx, sh(script, w))
		if err != nil {
			t.Fatal(err)
		}
		pids := readPids(t, r, 2)
		go func() { _, _ = io.Copy(io.Discard, r) }()
		if group, err := unix.Getpgid(pids[1]); err != nil || (group == pids[0]) != (name == "group") {
			t.Errorf("%s: the group of %v is %d, %v: nothing to test", name, pids, group, err)
		}
		cancel()
		if exit := p.Wait(); !exit.Stopped || name == "group" && exit.String() != "killed by SIGKILL" {
			t.Errorf("%s: got %+v", name, exit)
		}
		w.Close()
		for _, pid := range pids {
			if running(pid) {
				t.Errorf("%s: %d of %v still runs", name, pid, pids)
			}
		}
	}
}

// TestNewProcessesEndAsWell: each child answers TERM with another group, and others fork
// without end.
func TestNewProcessesEndAsWell(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	p, err := Start(ctx, sh(`hop() { (sleep 0.01; hop) & }
export again='trap "timeout 1000 sh -c \"\$again\" & timeout 1000 sh -c \"\$again\" & wait" TERM; while :; do sleep 0.05; done'
timeout 1000 sh -c "$again" & hop
echo $$; while :; do sleep 0.1; done`, w))
	if err != nil {
		t.Fatal(err)
	}
	sid := readPids(t, r, 1)[0]
	go func() { _, _ = io.Copy(io.Discard, r) }()
	handlertest.Poll(t, "another group", func() bool {
		members, _ := sessionMembers(sid)
		return slices.ContainsFunc(members, func(m member) bool { return m.group != sid })
	})
	cancel()
	p.Wait()
	w.Close()
	if members, err := sessionMembers(sid); err != nil || len(members) > 0 {
		t.Errorf("left were %v, %v", members, err)
	}
}

// TestOtherSessionsStay: no other session is ended.
func TestOtherSessionsStay(t *testing.T) {
	t.Parallel()
	other := exec.Command("sleep", "1000")
	other.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	run(t, sh("timeout 1000 sleep 1000 & :", nil))
	if !killSession(1<<22+1, time.Millisecond) { // an id that no process can have
		t.Error("an empty session did not end")
	}
	if !running(other.Process.Pid) {
		t.Error("another session was ended")
	}
}
