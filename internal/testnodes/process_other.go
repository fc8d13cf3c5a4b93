//go:build unix && !linux

package testnodes

import "syscall"

// childAttributes keep the terminal's interrupt, which is for the parent, away
// from a child.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
