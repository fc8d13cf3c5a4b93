// Package testnodes starts real servers as children of the caller, for tests
// that kill, pause and restart them: MariaDB and RabbitMQ, alone or as a
// cluster. Each has its own ports on loopback and its own data directory, and
// keeps both over a restart. On Linux none outlives the caller.
package testnodes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is a running child in a process group of its own. Its methods may be
// called at any time, also after it has ended.
type Process struct {
	cmd    *exec.Cmd
	begin  time.Time
	exited chan struct{}
	waited error // by the time that exited is closed
}

// StartProcess starts cmd. The caller sets everything but SysProcAttr.
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

// PID is the process id, also after the process has ended.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Age is the time since the process was started.
func (p *Process) Age() time.Duration { return time.Since(p.begin) }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Alive tells whether the process has not ended yet; a paused one is alive.
func (p *Process) Alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ExitCode waits for the end and gives the exit code, -1 after a signal.
func (p *Process) ExitCode() int {
	<-p.exited
	return p.cmd.ProcessState.ExitCode()
}

// Ending waits for the end and says how it was: "exit status 1", or by which
// signal.
func (p *Process) Ending() string {
	<-p.exited
	if p.cmd.ProcessState == nil {
		return fmt.Sprintf("unknown (%v)", p.waited)
	}
	return p.cmd.ProcessState.String()
}

// Signal sends a signal to the process alone. It does nothing after its end.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %v to process %d: %w", s, p.PID(), err)
	}
	return nil
}

// Kill ends the process and all of its group as a power cut does, and waits.
func (p *Process) Kill() {
	if p.Alive() {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	<-p.exited
}

// Stop asks the process to end and waits for its exit code. One that takes
// longer than patience is killed, which is an error.
func (p *Process) Stop(patience time.Duration) (int, error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-p.exited:
		return p.ExitCode(), nil
	case <-time.After(patience):
		p.Kill()
		return -1, fmt.Errorf("process %d did not end within %v and was killed", p.PID(), patience)
	}
}

// Pause stops the process where it is, until [Process.Resume].
func (p *Process) Pause() error { return p.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.Signal(syscall.SIGCONT) }
