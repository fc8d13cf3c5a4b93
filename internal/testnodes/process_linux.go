package testnodes

import "syscall"

// childAttributes makes a child die with its parent, and protects it from the
// terminal's interrupt, which is meant for the parent.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
