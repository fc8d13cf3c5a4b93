package testnodes

import "syscall"

// childAttributes make a child die with its parent, and keep the terminal's
// interrupt, which is for the parent, away from it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
