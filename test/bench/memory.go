package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/taskerhq/tasker/test/internal/daemons"
)

// idle is the memory of an idle manager process, in MiB.
type idle struct {
	Resident float64 `json:"resident_mib"`      // VmRSS
	Peak     float64 `json:"peak_resident_mib"` // VmHWM
	// Seconds is how long the manager had been idle.
	Seconds float64 `json:"idle_s"`
}

// idleFor is how long the manager is idle before its memory is read.
const idleFor = 5 * time.Second

// idleManager builds tasker, starts a manager with one endpoint and one task
// type, waits until it consumes, and reads its memory.
func idleManager(ctx context.Context) (_ *idle, err error) {
	dir, err := os.MkdirTemp("", "tasker-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "tasker")
	const program = "github.com/taskerhq/tasker/cmd/tasker"
	//nolint:gosec // only the directory varies
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build tasker (run this inside its module): %w: %s", err, out)
	}
	var found *idle
	err = withServices(ctx, func(s *services) (err error) {
		if err := daemons.Migrate(ctx, s.mysql); err != nil {
			return err
		}
		found, err = observe(ctx, s, binary, dir)
		return err
	})
	return found, err
}

func observe(ctx context.Context, s *services, binary, dir string) (_ *idle, err error) {
	const endpoint = "idle1"
	ctx, cancel := context.WithCancel(ctx)
	var output bytes.Buffer
	//nolint:gosec // built above
	cmd := exec.CommandContext(ctx, binary, "manager", "--endpoint", endpoint, "--task-type", "worker")
	cmd.Dir = dir // without a configuration file: use the built-in one
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TASKER_MANAGER_DB_URI=" + s.mysql, "TASKER_MANAGER_MESSAGE_QUEUE_URI=" + s.rabbit}
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		cancel()
		e := <-ended
		var exit *exec.ExitError
		if err != nil && errors.As(e, &exit) {
			err = fmt.Errorf("%w; the manager ended: %w: %s", err, e, output.String())
		}
	}()
	ready, stop := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute"))
	defer stop()
	if err := daemons.AwaitConsumers(ready, s.rabbit, "worker", []string{endpoint}); err != nil {
		return nil, fmt.Errorf("wait for the manager to consume: %w", err)
	}
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return readMemory(cmd.Process.Pid)
}

func readMemory(pid int) (*idle, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	found := &idle{Seconds: idleFor.Seconds()}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		into := map[string]*float64{"VmRSS": &found.Resident, "VmHWM": &found.Peak}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		if err != nil {
			return nil, fmt.Errorf("%s of process %d: %w", name, pid, err)
		}
		*into = kib / 1024
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if found.Resident == 0 {
		return nil, fmt.Errorf("no VmRSS of process %d", pid)
	}
	return found, nil
}
