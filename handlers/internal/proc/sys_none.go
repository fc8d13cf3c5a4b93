//go:build !unix

package proc

import (
	"errors"
	"io/fs"
	"syscall"
)

func (s *Spec) attributes() (*syscall.SysProcAttr, error) {
	if s.User != "" || s.Group != "" {
		return nil, cannot(errors.ErrUnsupported, "a program cannot run as another user on this system")
	}
	return nil, nil
}

// RunsAsRoot is false: there is no root.
func (s *Spec) RunsAsRoot() bool { return false }

// Owner gives the ids of the user and the group that a file for the program
// shall belong to. ok is false where they are the caller's own.
func (s *Spec) Owner() (uid, gid int, ok bool, err error) { return 0, 0, false, nil }

// signal ends the program: there is nothing gentler.
func (p *Process) signal(syscall.Signal) { _ = p.process.Kill() }

// sweep does nothing: nobody knows what a program has started.
func (p *Process) sweep() {}

func executable(fs.FileInfo) bool { return true }

func readNow(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func closeInheritedOnExec() {} // only what is named is inherited here
