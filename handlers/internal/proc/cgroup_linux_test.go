package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inCgroup is what the helper does in a cgroup that is delegated to it: it runs a program
// that leaves a daemon running, prints the daemon's process id, and stops the
// program or lets it exit.
func inCgroup(what string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, w := io.Pipe()
	spec := sh(`setsid sh -c 'trap "" TERM; echo $$; : > "$0"; while :; do sleep 0.1; done' "$1" &
while ! [ -e "$1" ]; do sleep 0.01; done; rm "$1"
cat /proc/self/cgroup >&2; if [ "$2" = stop ]; then sleep 1000; fi`, w, filepath.Join(os.TempDir(), fmt.Sprint("ready", os.Getpid())), what)
	var cgroups bytes.Buffer
	spec.Stderr = &cgroups
	spec.Limits.Processes = 100
	p, err := Start(ctx, spec)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var daemon int
	if _, err := fmt.Fscan(r, &daemon); err != nil {
		os.Exit(2)
	}
	fmt.Println(daemon)
	go func() { _, _ = io.Copy(io.Discard, r) }()
	if what == "stop" {
		cancel()
	}
	p.Wait()
	if what != "stop" && !strings.Contains(cgroups.String(), "/"+cgroupPrefix) {
		fmt.Println("its cgroups are", cgroups.String())
		os.Exit(3)
	}
	os.Exit(0)
}

// delegate creates a cgroup as systemd does for a unit with Delegate=yes.
func delegate(t *testing.T) string {
	t.Helper()
	_, mount := cgroupMount()
	if mount == "" {
		t.Skip("no cgroups")
	}
	dir, err := os.MkdirTemp(mount, "tasker-test-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		names, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.kill"))
		for _, name := range names {
			c := cgroup(filepath.Dir(name))
			c.kill()
			c.remove(leftoverGrace)
		}
		if !cgroup(dir).remove(leftoverGrace) {
			t.Errorf("left was %s", dir)
		}
	})
	err = unix.Setxattr(dir, "user.delegate", []byte("1"), 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = unix.Setxattr(dir, "trusted.delegate", []byte("1"), 0)
	}
	if err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil {
		t.Skip("the kernel is older than 5.14")
	}
	return dir
}

// TestCgroupContainsDaemons: everything that a stopped run has started ends, including
// daemons; a daemon of a run that exited by itself keeps running.
func TestCgroupContainsDaemons(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"stop", "end"} {
		dir := delegate(t)
		file, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		helper := exec.Command(self)
		helper.Env = append(os.Environ(), helperEnv+"=1", helperCgroup+"="+what)
		helper.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(file.Fd())}
		out, err := helper.Output()
		_ = file.Close()
		if err != nil {
			t.Fatalf("%s: %v: %s", what, err, out)
		}
		daemon := pidsIn(t, string(out))[0]
		if running(daemon) != (what == "end") {
			t.Errorf("%s: the daemon runs: %t", what, running(daemon))
		}
		left, _ := filepath.Glob(filepath.Join(dir, cgroupPrefix+"*"))
		if (len(left) == 0) != (what == "stop") {
			t.Errorf("%s: left were %v", what, left)
		}
		_ = syscall.Kill(daemon, syscall.SIGKILL)
	}
}

// TestCgroupOfAnAbandonedProgram: everything in it is killed.
func TestCgroupOfAnAbandonedProgram(t *testing.T) {
	t.Parallel()
	dir := delegate(t)
	c := cgroup(filepath.Join(dir, cgroupPrefix+"1"))
	if err := os.Mkdir(string(c), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(string(c))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	daemon := exec.Command("sleep", "1000")
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(file.Fd())}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	records := t.TempDir()
	target := fmt.Sprintf("4194999 4194998 1 %s %s", namespace(), c)
	if err := os.Symlink(target, filepath.Join(records, "one.run")); err != nil {
		t.Fatal(err)
	}
	if done, err := KillAbandoned(filepath.Join(records, "*.run"), "X"); err != nil || len(done) != 1 {
		t.Errorf("got %v, %v", done, err)
	}
	if err := <-ended; err == nil {
		t.Error("it exited with 0")
	}
	if _, err := os.Stat(string(c)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cgroup still exists: %v", err)
	}
}

// TestCgroupLimits tests what is written, in a plain directory.
func TestCgroupLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"pids.max", "memory.max", "memory.oom.group"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cgroup(dir).limit(&Limits{Processes: 5, Memory: 1 << 20})
	for name, want := range map[string]string{"pids.max": "5", "memory.max": "1048576", "memory.oom.group": "1"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	cgroup("").kill()
	if !cgroup("").remove(0) {
		t.Error("cannot remove an empty cgroup")
	}
	if delegated(dir) && os.Geteuid() == 0 {
		t.Error("a plain directory counts as delegated")
	}
}
