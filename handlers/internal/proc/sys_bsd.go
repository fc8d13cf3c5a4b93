//go:build unix && !linux

package proc

import (
	"errors"
	"syscall"
)

func (s *Spec) attributes() (*syscall.SysProcAttr, error) {
	credential, err := s.credential()
	if err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Setsid: true, Credential: credential}, nil
}

// signal sends a signal to the program's group.
func (p *Process) signal(sig syscall.Signal) { _ = syscall.Kill(-p.process.Pid, sig) }

// groupAlive tells whether the group has a process.
func groupAlive(pgid int) bool { return !errors.Is(syscall.Kill(-pgid, 0), syscall.ESRCH) }
