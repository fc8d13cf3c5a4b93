// Package testnodes starts real servers as child processes, for tests that
// kill, pause and restart them: MariaDB, and RabbitMQ as a single node or a
// cluster. Each has its own ports on loopback and its own data directory, and
// keeps both over a restart. On Linux they end with the caller.
package testnodes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is a child in its own process group. Its methods may be called at any
// time, even after it has ended.
type Process struct {
	cmd    *exec.Cmd
	begin  time.Time
	exited chan struct{}
	waited error // valid once exited is closed
}

// StartProcess starts cmd. It sets SysProcAttr; the caller sets the rest.
func StartProcess(cmd *exec.Cmd) (*Process, error) {
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, begin: time.Now(), exited: make(chan struct{})}
	go func() {
		p.waited = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// PID returns the process id, even after the process has ended.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Age returns the time since the process was started.
func (p *Process) Age() time.Duration { return time.Since(p.begin) }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Alive reports whether the process has not ended; a paused one is alive.
func (p *Process) Alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ExitCode waits for the process to end and returns its exit code, or -1 after
// a signal.
func (p *Process) ExitCode() int {
	<-p.exited
	return p.cmd.ProcessState.ExitCode()
}

// Ending waits for the process to end and returns how: "exit status 1", or the
// signal.
func (p *Process) Ending() string {
	<-p.exited
	if p.cmd.ProcessState == nil {
		return fmt.Sprintf("unknown (%v)", p.waited)
	}
	return p.cmd.ProcessState.String()
}

// Signal sends a signal to the process alone. After its end it does nothing.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %v to process %d: %w", s, p.PID(), err)
	}
	return nil
}

// Kill kills the process and its group, and waits.
func (p *Process) Kill() {
	if p.Alive() {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	<-p.exited
}

// Stop sends TERM and returns the exit code. After the timeout it kills the
// process and returns an error.
func (p *Process) Stop(timeout time.Duration) (int, error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-p.exited:
		return p.ExitCode(), nil
	case <-time.After(timeout):
		p.Kill()
		return -1, fmt.Errorf("process %d did not end within %v and was killed", p.PID(), timeout)
	}
}

// Pause stops the process with SIGSTOP, until [Process.Resume].
func (p *Process) Pause() error { return p.Signal(syscall.SIGSTOP) }

// Resume continues a paused process.
func (p *Process) Resume() error { return p.Signal(syscall.SIGCONT) }
