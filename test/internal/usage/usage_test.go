//go:build linux

package usage_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker/test/internal/usage"
)

func TestUsageIncludesDescendants(t *testing.T) {
	before, err := usage.Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.Resident < 1<<20 {
		t.Errorf("resident memory of this process: %d bytes", before.Resident)
	}
	// The shell's child burns CPU until it is killed.
	cmd := exec.Command("sh", "-c", "sh -c 'while :; do :; done' & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	t.Cleanup(func() {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(2 * time.Minute); ; {
		used, err := usage.Of(pid)
		if err != nil {
			t.Fatal(err)
		}
		if used.CPU >= 50*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the shell and its child have used %v", used.CPU)
		}
	}
}

func TestServerIsFoundByItsPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	own := strings.TrimSpace(string(comm))
	if pid, ok := usage.Server(port, own); !ok || pid != os.Getpid() {
		t.Errorf("the process that listens: %d, %t; want %d", pid, ok, os.Getpid())
	}
	if pid, ok := usage.Server(port, "mariadbd"); ok {
		t.Errorf("process %d is taken for another program", pid)
	}
	if pid, ok := usage.Server("1", own); ok {
		t.Errorf("process %d is taken to listen on port 1", pid)
	}
}
