//go:build unix && !linux

package testnodes

import "syscall"

// childAttributes protects a child from the terminal's interrupt, which is
// meant for the parent.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
