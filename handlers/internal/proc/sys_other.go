//go:build !linux

package proc

import (
	"context"
	"errors"
	"os"
	"strconv"
	"syscall"
)

func (s *Spec) prepareThread() (changed bool, err error) {
	if s.Umask != nil || s.Nice != 0 {
		return false, cannot(errors.ErrUnsupported, "umask and nice can be set on Linux only")
	}
	return false, nil
}

// awaitExit waits until the program has exited, and reaps it.
func (p *Process) awaitExit() { p.state, p.waitErr = p.process.Wait() }

func (l *Limits) wrapper() ([]string, error) {
	return nil, cannot(errors.ErrUnsupported, "limits can be set on Linux only")
}

func (s *Spec) reason(string, error) (*StartError, bool) { return nil, false }

// cgroup does not exist on this system.
type cgroup struct{}

func (p *Process) start(ctx context.Context, l *launch, attr *os.ProcAttr) (*os.Process, error) {
	return startRetrying(ctx, l, attr)
}

func (p *Process) isWrapper() bool { return false } // there is none

func isBusy(error) bool { return false }

func (e *Exit) set(state *os.ProcessState, err error) {
	if err != nil {
		e.Code = -1
		return
	}
	e.Code = state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal()
	}
}

// String returns a description such as "exit code 3".
func (e Exit) String() string {
	if e.Signal == 0 {
		return "exit code " + strconv.Itoa(e.Code)
	}
	return "killed by a signal: " + e.Signal.String()
}
