//go:build unix && !linux

package proc

import (
	"errors"
	"syscall"
)

// signal sends a signal to the program's group.
func (p *Process) signal(sig syscall.Signal) { _ = syscall.Kill(-p.process.Pid, sig) }

// sweep ends what is left of the program's group; the program was reaped when it exited.
// It does not find processes with their own group.
func (p *Process) sweep() {
	p.signal(syscall.SIGTERM)
	gone := func() bool { return errors.Is(syscall.Kill(-p.process.Pid, 0), syscall.ESRCH) }
	if !poll(min(leftoverGrace, p.stopGrace()), gone) {
		p.signal(syscall.SIGKILL)
		poll(leftoverGrace, gone)
	}
}
