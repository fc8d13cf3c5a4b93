//go:build !unix

package proc

import (
	"errors"
	"io/fs"
	"syscall"
)

func (s *Spec) attributes() (*syscall.SysProcAttr, error) {
	if s.User != "" || s.Group != "" {
		return nil, cannot(errors.ErrUnsupported, "cannot run a program as another user on this system")
	}
	return nil, nil
}

// RunsAsRoot returns false: there is no root.
func (s *Spec) RunsAsRoot() bool { return false }

// Owner returns the ids of the user and the group to which a file for the program must
// belong. ok is false if they are the caller's.
func (s *Spec) Owner() (uid, gid int, ok bool, err error) { return 0, 0, false, nil }

// signal kills the program: there are no signals.
func (p *Process) signal(syscall.Signal) { _ = p.process.Kill() }

// sweep does nothing: what a program has started is unknown.
func (p *Process) sweep() {}

func executable(fs.FileInfo) bool { return true }

func readNow(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func closeInheritedOnExec() {} // only what is named is inherited
