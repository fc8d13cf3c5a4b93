package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const initHelper = "INIT_TEST_HELPER"

// TestInitHelper is process 1 of a container, or its child, in the tests below.
func TestInitHelper(t *testing.T) {
	what := os.Getenv(initHelper)
	if what == "" {
		return
	}
	if code, ok := asInit(); ok {
		os.Exit(code)
	}
	switch what {
	case "orphans":
		os.Exit(awaitReaped())
	case "signal":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fmt.Println("ready")
		<-signals
		os.Exit(9)
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	os.Exit(1)
}

// awaitReaped leaves orphans behind, and returns 7 when they are gone, zombies
// included, and the exit code of a program of its own was not taken away.
func awaitReaped() int {
	out, err := exec.Command("sh", "-c", `for i in 1 2 3; do sh -c 'exit 3' & echo $!; sh -c 'setsid sh -c "exit 4" & echo $!'; done`).Output()
	if err != nil {
		return 2
	}
	deadline := time.Now().Add(5 * time.Minute)
	for word := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return 3
		}
		for syscall.Kill(pid, 0) == nil {
			if time.Now().After(deadline) {
				return 4
			}
			time.Sleep(time.Millisecond)
		}
	}
	var exit *exec.ExitError
	if err := exec.Command("sh", "-c", "exit 5").Run(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		return 5
	}
	return 7
}

// asContainer runs the helper as process 1 of a namespace of its own.
func asContainer(t *testing.T, what string) (*exec.Cmd, io.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestInitHelper$")
	cmd.Env = append(os.Environ(), initHelper+"="+what)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
		t.Skip("it takes rights to make a namespace of processes")
	} else if err != nil {
		t.Fatal(err)
	}
	return cmd, stdout
}

// TestInitReapsOrphans: as process 1 tasker leaves no zombies, and its own
// programs keep their exit codes.
func TestInitReapsOrphans(t *testing.T) {
	t.Parallel()
	cmd, _ := asContainer(t, "orphans")
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("got %v", cmd.ProcessState)
	}
}

func TestInitPassesSignalsAndExitCodesOn(t *testing.T) {
	t.Parallel()
	cmd, stdout := asContainer(t, "signal")
	ready := make([]byte, len("ready"))
	if _, err := io.ReadFull(stdout, ready); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("a signal: got %v", cmd.ProcessState)
	}
	cmd, _ = asContainer(t, "killed")
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+9 {
		t.Errorf("killed: got %v", cmd.ProcessState)
	}
}
