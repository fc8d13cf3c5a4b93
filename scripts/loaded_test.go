package scripts_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// loaded is a running test-loaded.sh, with a command in place of the tests. The
// command first prints the child processes of the script and its own descriptors.
type loaded struct {
	cmd       *exec.Cmd
	out       io.Reader
	processes []string
	fds       string
}

func startLoaded(t *testing.T, command string, args ...string) *loaded {
	t.Helper()
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("needs /proc")
	}
	stand := filepath.Join(t.TempDir(), "test.sh")
	script := `#!/usr/bin/env bash
read -r _ script < <(grep PPid "/proc/$PPID/status")
cat /proc/"$script"/task/"$script"/children; echo
ls /proc/self/fd | tr '\n' ' '; echo
` + command
	if err := os.WriteFile(stand, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	l := &loaded{cmd: exec.CommandContext(t.Context(), "./test-loaded.sh", args...)}
	l.cmd.Env = append(os.Environ(), "TASKER_TEST_COMMAND="+stand)
	l.cmd.Stderr = os.Stderr
	pipe, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	children, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if l.fds, err = out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	l.processes, l.out = strings.Fields(children), out
	return l
}

// wait returns the exit code and the rest of the output.
func (l *loaded) wait(t *testing.T) (code int, rest string) {
	t.Helper()
	b, err := io.ReadAll(l.out)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	for _, pid := range l.processes {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("process %s is still running", pid)
		}
	}
	return l.cmd.ProcessState.ExitCode(), string(b)
}

// The tests run on busy cores with descriptors open, and the exit code is that of
// the first run that fails.
func TestLoadedRunsUntilOneFails(t *testing.T) {
	t.Parallel()
	count := filepath.Join(t.TempDir(), "count")
	l := startLoaded(t, `echo "run $*" >>`+count+`; [ "$(wc -l <`+count+`)" -lt 2 ] || exit 7`, "-n", "3", "-l", "2", "./manager", "-v")
	if len(l.processes) != 3 {
		t.Errorf("%v, want two busy loops and the command", l.processes)
	}
	for _, fd := range []string{"3", "4", "5", "6", "7", "8", "9"} {
		if !strings.Contains(" "+l.fds, " "+fd+" ") {
			t.Errorf("descriptor %s is not open: %s", fd, l.fds)
		}
	}
	if code, _ := l.wait(t); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if b, err := os.ReadFile(count); err != nil || string(b) != "run ./manager -v\nrun ./manager -v\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// A signal ends the busy loops and the command too.
func TestLoadedEndsWhatItStarted(t *testing.T) {
	t.Parallel()
	l := startLoaded(t, "exec sleep 60", "-l", "1")
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, _ := l.wait(t); code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
}
