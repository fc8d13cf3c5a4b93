//go:build unix && !linux

package proc

import "syscall"

// closeInheritedOnExec marks the descriptors above 2 close-on-exec that this
// process may have been started with, as far as shells and supervisors go.
func closeInheritedOnExec() {
	const most = 256
	for fd := 3; fd < most; fd++ {
		syscall.CloseOnExec(fd)
	}
}
